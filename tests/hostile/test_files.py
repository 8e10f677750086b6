"""Nearly right files, by the thousand: read or refused in words; nothing executed, nothing opened, in bounded time and memory."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rollout.adapters.planfile import parse_planfile
from rollout.core.policy import Policy
from rollout.engine import events
from rollout.engine.planfolder import PlanFolder
from rollout.engine.usecases import Desk
from rollout.store.memory import MemoryStore
from rollout.store.reading import StoredCodec
from tests.cli.console import Terminal
from tests.contract.stores import StandingClock
from tests.hostile.mutations import CONFIGURATION, HOSTILE, MARK, PLANS, mutated, read_configuration, read_plan

SEEDS = 600
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "socket.connect",
             "socket.getaddrinfo", "pty.spawn", "ctypes.dlopen", "pickle.find_class")  # fmt: skip
CPU_SECONDS = 240
MEMORY = 1536 * 1024 * 1024
"""Of address space, imports and all: a bomb of a few hundred megabytes would not fit."""

_watching: list[list[str]] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    writes = event == "open" and len(arguments) > 1 and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(FORBIDDEN):
        _watching[-1].append(f"{event} {arguments}")


sys.addaudithook(_audit)


@contextmanager
def nothing_done() -> Iterator[None]:
    """Hold that Python itself saw no program started, no connection made, and no file opened for writing."""
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield
    finally:
        _watching.pop()
    assert seen == []


def test_the_watch_over_what_is_done_sees_a_program_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"), nothing_done():
        subprocess.run([sys.executable, "-c", ""], check=True)
    with pytest.raises(AssertionError, match="open"), nothing_done():
        (tmp_path / MARK).write_text("")


def test_mutated_plans_and_configurations_are_read_or_refused_and_nothing_is_done() -> None:
    still = 0
    with nothing_done():
        for seed in range(SEEDS):
            still += read_plan(mutated(seed, PLANS))
            read_configuration(mutated(seed, [CONFIGURATION]))
    assert 0 < still < SEEDS, "some mutations break a plan, and some do not"


def test_mutated_files_cost_bounded_time_and_memory() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "tests.hostile.mutations", "--seeds", "300", "--from", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@settings(max_examples=150)
@given(st.sampled_from(PLANS), st.integers(0, 2**32), st.sampled_from(HOSTILE) | st.text(max_size=60))
def test_any_text_in_place_of_any_value_is_read_or_refused(example: Path, place: int, value: str) -> None:
    lines = [line for line in example.read_text().splitlines() if ":" in line and not line.lstrip().startswith("#")]
    at = random.Random(place).randrange(len(lines))
    lines[at] = lines[at].partition(":")[0] + ": " + value
    read_plan("\n".join(lines).encode("utf-8", "surrogatepass"))


def test_the_command_line_refuses_mutated_files_without_a_traceback(tmp_path: Path) -> None:
    terminal, file = Terminal(tmp_path), tmp_path / "plan.yaml"
    codes = set()
    for seed in range(120):
        file.write_bytes(mutated(seed, PLANS))
        answer = terminal.type("validate", str(file))
        codes.add(answer.code)
        assert "Traceback" not in answer.out + answer.err
    assert codes == {0, 2}
    for seed in range(40):
        file.write_bytes(mutated(seed, [CONFIGURATION]))
        answer = terminal.type("list", ROLLOUT_CONFIG=str(file), ROLLOUT_DATABASE=f"sqlite:///{tmp_path}/none.db")
        assert answer.code in {0, 2, 3}
        assert "Traceback" not in answer.out + answer.err
    assert [path.name for path in tmp_path.rglob("*") if MARK in path.name] == []
    assert not Path(MARK).exists()


def test_the_plan_folder_tells_of_mutated_files_and_goes_on(tmp_path: Path) -> None:
    clock = StandingClock(datetime(2026, 3, 2, tzinfo=UTC))
    store = MemoryStore(clock)
    folder = PlanFolder(tmp_path, Desk(store, StoredCodec(store), clock, Policy()), parse_planfile)
    for seed in range(120):
        (tmp_path / f"{seed:04d}.yaml").write_bytes(mutated(seed, PLANS))
    with capture_logs() as logged:
        for _ in range(2):
            folder.look()
    told = [entry for entry in logged if entry["event"] in {events.PLAN_REFUSED, events.PLAN_SUBMITTED}]
    assert {entry["file"] for entry in told} == {f"{seed:04d}.yaml" for seed in range(120)}
    assert [entry for entry in logged if entry["event"] == events.BUG] == []

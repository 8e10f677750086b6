"""The installed command, killed at the worst moments: it must end as if nothing had been, and lose no notice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.end_to_end.processes import Place, until
from tests.end_to_end.recorder import Procedure, Recorder

OLD, NEW = "nginx:1.27.3", "nginx:1.28.0"

pytestmark = pytest.mark.timeout(300)
"""Some seconds each; the machine may be busy, and every wait has a limit of its own."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path) as opened:
        yield opened


@pytest.fixture
def recorder(place: Place) -> Iterator[Recorder]:
    with Recorder(place.urls["kubernetes"], Procedure(every=timedelta(seconds=3))) as recording:
        yield recording
        assert recording.violations == [], recording.writes


def test_a_daemon_killed_in_soak_and_in_promotion_still_brings_the_version_out(place: Place, recorder: Recorder) -> None:
    daemon = place.serve()
    rollout = place.submit()
    recorder.wait_for("nginx-canary 1 -> 2 by rollout")
    daemon.kill()
    daemon = place.serve()
    recorder.wait_for(f"nginx {OLD} -> {NEW} by rollout")
    daemon.kill()
    daemon = place.serve()
    place.until_ended(rollout, "succeeded")

    assert place.deployment("nginx")[2] == NEW
    assert place.deployment("nginx-canary")[0] == 0
    titles = place.until_told(rollout)
    assert [title.partition(": ")[2] for title in titles] == [
        "canary started", "canary at 2 replicas", "canary at 3 replicas", "promotion begins", "promoted", "succeeded",
    ]  # fmt: skip
    code, seconds = daemon.terminate()
    assert (code, seconds < 10) == (0, True), daemon.output()[-2000:]


def test_a_daemon_killed_in_retreat_finishes_stepping_back(place: Place, recorder: Recorder) -> None:
    daemon = place.serve()
    rollout = place.submit(hasty=True)
    recorder.wait_for(f"nginx {OLD} -> {NEW} by rollout")
    until(lambda: place.rows("select 1 from event where rollout = ? and kind = 'pod-updated'", rollout) != [], "a pod is new")
    assert place.run("abort", rollout, "--reason", "seen something").returncode == 0
    recorder.wait_for("-> 0 by rollout")
    daemon.kill()
    place.serve()
    place.until_ended(rollout, "aborted")

    assert place.deployment("nginx")[2] == OLD
    assert place.deployment("nginx-canary")[0] == 0
    assert "stepped back" in place.until_told(rollout)[-1]
    reasons = place.rows("select why from rollout where id = ?", rollout)
    assert "seen something" in reasons[0][0]


def test_breaking_the_glass_steps_back_while_the_daemon_is_dead_and_the_next_daemon_leaves_it_so(
    place: Place, recorder: Recorder
) -> None:
    daemon = place.serve()
    rollout = place.submit(hasty=True)
    recorder.wait_for(f"nginx {OLD} -> {NEW} by rollout")
    daemon.kill()
    done = place.run("abort", rollout, "--break-glass", "--reason", "it is 3 a.m.")

    assert done.returncode == 0, done.stdout + done.stderr
    assert place.deployment("nginx")[2] == OLD
    assert place.deployment("nginx-canary")[0] == 0
    place.serve()
    until(lambda: place.row(rollout)[0] != "active", "the next daemon ends the rollout")
    assert place.row(rollout)[0] in {"aborted", "failed"}
    (why,) = place.rows("select why from rollout where id = ?", rollout)[0]
    assert "tester stepped back by hand, past the daemon: it is 3 a.m." in why
    assert place.deployment("nginx-canary")[0] == 0
    assert place.deployment("nginx")[2] == OLD


def test_what_people_asked_while_the_daemon_was_dead_stands_in_history_with_their_names(place: Place, recorder: Recorder) -> None:
    daemon = place.serve()
    rollout = place.submit()
    recorder.wait_for("nginx-canary 0 -> 1 by rollout")
    daemon.kill()
    for command in (
        ("pause", rollout, "-m", "something is odd", "--as", "ann"),
        ("abort", rollout, "-m", "it is worse", "--as", "bob"),
        ("abort", rollout, "--break-glass", "-m", "nobody hears", "--as", "eve of night shift"),
    ):
        done = place.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    place.serve()
    place.until_ended(rollout, "aborted")

    told = json.loads(place.run("history", rollout, "-o", "json").stdout)
    by = {event["kind"]: (event["actor"], event["why"]) for event in told}
    assert by["command-pause"][0] == "ann"
    assert "something is odd" in by["command-pause"][1]
    assert by["command-abort"][0] == "bob"
    assert "it is worse" in by["command-abort"][1]
    glass = by["break-glass"] if "break-glass" in by else by["stepping-back"]  # by what the new daemon saw first
    assert glass == ("eve of night shift", glass[1])
    assert "eve of night shift stepped back by hand, past the daemon: nobody hears" in glass[1]
    assert "eve of night shift" in by["aborted"][1]
    assert "eve of night shift" in place.rows("select why from notice where rollout = ? order by id desc", rollout)[0][0]
    assert place.rows("select 1 from command where rollout = ? and consumed_at is null", rollout) == []


def test_breaking_the_glass_needs_no_database(place: Place, recorder: Recorder) -> None:
    daemon = place.serve()
    place.submit()
    recorder.wait_for("nginx-canary 0 -> 1 by rollout")
    daemon.kill()
    done = place.run("abort", "default/nginx", "--break-glass", "--database", f"sqlite:///{place.folder}/nowhere/rollout.db")

    assert done.returncode == 0, done.stdout + done.stderr
    assert place.deployment("nginx-canary")[0] == 0


def test_a_crashing_version_is_stepped_back_and_no_notice_is_lost_though_the_chat_was_away_and_the_daemon_killed(
    place: Place, recorder: Recorder
) -> None:
    place.behave(NEW, **{"is": "crashes", "crashAfter": "3s", "readyAfter": "1s", "pullAfter": "0s"})
    place.fault("webhooks", "http-500")
    daemon = place.serve()
    rollout = place.submit()
    recorder.wait_for("nginx-canary 1 -> 0 by rollout")
    place.until_ended(rollout, "failed")
    daemon.kill()
    place.fault("webhooks", "none")
    place.serve()

    titles = [title.partition(": ")[2] for title in place.until_told(rollout)]
    assert titles[0] == "canary started"
    assert titles[-2:] == ["stepping back", "failed, stepped back"]
    assert place.deployment("nginx") == (10, 10, OLD)


def test_sigterm_stops_within_ten_seconds_though_the_cluster_and_every_backend_hang(place: Place, recorder: Recorder) -> None:
    daemon = place.serve()
    place.submit()
    recorder.wait_for("nginx-canary 0 -> 1 by rollout")
    for backend in ("prometheus", "webhooks", "kubernetes"):
        place.fault(backend, "hang")
    code, seconds = daemon.terminate()

    assert code == 0, daemon.output()[-2000:]
    assert seconds < 10
    place.fault("kubernetes", "none")

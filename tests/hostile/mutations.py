"""Files that are nearly right: an example with a few seeded mutations, from a slip of the hand to malice.

python -m tests.hostile.mutations --seeds 20000 [--from N]     # more than the tests play; prints the seed that fails
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rollout.adapters.planfile import parse_planfile
from rollout.adapters.resources import config_folder
from rollout.core.errors import Refused
from rollout.core.policy import Policy
from rollout.settings_file import parse_settings
from rollout.wiring import MODELS

PLANS = sorted((config_folder() / "plans").glob("*.yaml"))
CONFIGURATION = config_folder() / "rollout.yaml"
MARK = "rollout-was-owned"
"""What hostile values would touch if anything executed them."""
HOSTILE = (
    f"!!python/object/apply:os.system ['touch {MARK}']",
    f"!!python/object/new:subprocess.Popen [[touch, {MARK}]]",
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"{{{{ cycler.__init__.__globals__.os.system('touch {MARK}') }}}}",
    f"%s%n${{jndi:{MARK}}}",
    *("&a [*a, *a]", "*nothing", "<<: *x", "!include /etc/passwd", "../../../../etc/passwd", "file:///etc/passwd"),
    *("'; DROP TABLE rollout; --", '"} or vector(0) #', '\\"}) { __schema { types { name } } }', "*:* OR _exists_:password"),
    *("\u202e\u0000", "\ud7ff\uffff", "'\\uDC80'", "9" * 400, "-1", "0", "1e309", ".inf", ".nan", "0x7fffffffffffffff"),
    *("2026-03-29T02:30:00", "1:1:1", "yes", "~", "''", "[]", "{}", "[[[[[[[[[[1]]]]]]]]]]", "99999999999d", "1d1d1d1d"),
    *("100.0000000001%", "x" * 5000, "(a+)+$", "\t", "? [complex, key]\n: 1", "---", "..."),
)
Mutation = Callable[[list[str], random.Random], None]


def _hostile_value(lines: list[str], chosen: random.Random) -> None:
    at = chosen.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon} {chosen.choice(HOSTILE)}" if colon else lines[at] + chosen.choice(HOSTILE)


def _drop(lines: list[str], chosen: random.Random) -> None:
    at = chosen.randrange(len(lines))
    del lines[at : at + chosen.randint(1, 3)]


def _repeat(lines: list[str], chosen: random.Random) -> None:
    at, to = chosen.randrange(len(lines)), chosen.randrange(len(lines))
    lines[to:to] = lines[at : at + chosen.randint(1, 6)] * chosen.choice((1, 1, 1, 50))


def _swap(lines: list[str], chosen: random.Random) -> None:
    at, to = chosen.randrange(len(lines)), chosen.randrange(len(lines))
    lines[at], lines[to] = lines[to], lines[at]


def _indent(lines: list[str], chosen: random.Random) -> None:
    at = chosen.randrange(len(lines))
    lines[at] = chosen.choice((" ", "  ", "\t", "- ")) + lines[at] if chosen.random() < 0.6 else lines[at].lstrip()


def _letter(lines: list[str], chosen: random.Random) -> None:
    at = chosen.randrange(len(lines))
    place = chosen.randrange(len(lines[at]) + 1)
    lines[at] = (
        lines[at][:place] + chosen.choice("\0\x1b\x85\u2028:#{}[]&*!|>%@\"'é中 ") + lines[at][place + chosen.randint(0, 2) :]
    )


def _another_value(lines: list[str], chosen: random.Random) -> None:
    at, to = chosen.randrange(len(lines)), chosen.randrange(len(lines))
    lines[at] = lines[at].partition(":")[0] + ":" + lines[to].partition(":")[2]


MUTATIONS: Sequence[Mutation] = (_hostile_value, _hostile_value, _drop, _repeat, _swap, _indent, _letter, _another_value)


def mutated(seed: int, examples: Sequence[Path]) -> bytes:
    """Mutate one example a few times; at times a byte as well, and at times it is cut off."""
    chosen = random.Random(seed)
    lines = [
        line
        for line in chosen.choice(examples).read_text().splitlines()
        if chosen.random() < 0.5 or not line.lstrip().startswith("#")
    ]
    for _ in range(chosen.choice((1, 1, 2, 3, 6))):
        chosen.choice(MUTATIONS)(lines, chosen)
        lines = lines or [""]
    content = bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))
    if content and chosen.random() < 0.1:
        content[chosen.randrange(len(content))] = chosen.randrange(256)
    if chosen.random() < 0.05:
        del content[chosen.randrange(len(content) + 1) :]
    return bytes(content)


def read_plan(content: bytes) -> bool:
    """Read it as a plan and use it as submitting does; say whether it was one. Refused with problems is an answer, too."""
    try:
        plan = parse_planfile(content, "plan.yaml", Policy().check).plan
    except Refused as refused:
        _can_be_read(refused)
        return False
    assert plan.hash()
    assert plan.canonical()
    Policy().check(plan)
    return True


def read_configuration(content: bytes) -> bool:
    """Read it as a daemon's configuration; say whether it was one."""
    try:
        parse_settings(content, "rollout.yaml", MODELS)
    except Refused as refused:
        _can_be_read(refused)
        _shows_nothing(refused)
        return False
    return True


def _can_be_read(refused: Refused) -> None:
    assert refused.problems, "a refusal says what is wrong"
    assert all(len(problem.shown()) < 10_000 for problem in refused.problems), "a refusal can be read"


def _shows_nothing(refused: Refused) -> None:
    assert not any(problem.excerpt for problem in refused.problems), "a configuration holds secrets: no line of it is shown"


def main() -> None:
    """Play many seeds; stop at the first that breaks a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    given = parser.parse_args()
    accepted = 0
    for seed in range(given.first, given.first + given.seeds):
        try:
            accepted += read_plan(mutated(seed, PLANS))
            read_configuration(mutated(seed, [CONFIGURATION]))
        except BaseException:
            sys.stderr.write(f"seed {seed}:\n{mutated(seed, PLANS).decode(errors='replace')}\n")
            raise
    with suppress(BrokenPipeError):
        sys.stdout.write(
            f"{given.seeds} mutated plans and configurations were read or refused; {accepted} plans were still plans\n"
        )


if __name__ == "__main__":
    main()

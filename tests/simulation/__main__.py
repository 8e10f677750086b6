"""`python -m tests.simulation --seeds 2000 [--from N]` plays seeds; `--replay SEED` tells one as a story.

`--like hotfix` plays only stories whose first line has that word in it, as many as asked for. `--offline` plays maintenances
instead of canaries, and `--keep-going` prints every seed that fails instead of the first.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count, islice

from tests.simulation.offline_play import simulate_offline
from tests.simulation.offline_tale import tale
from tests.simulation.scenario import scenario
from tests.simulation.simulation import Result, simulate


@dataclass(frozen=True)
class Kind:
    """One kind of stories: how a seed is played, and what it is about."""

    option: str
    simulate: Callable[[int], Result]
    words: Callable[[int], str]


CANARY = Kind("", simulate, lambda seed: scenario(seed).words)
OFFLINE = Kind("--offline ", simulate_offline, lambda seed: tale(seed).words)


def chosen(first: int, seeds: int, like: str, kind: Kind = CANARY) -> list[int]:
    """Number the stories to play."""
    return list(islice((seed for seed in count(first) if not like or like in kind.words(seed)), seeds))


def play(
    numbers: list[int], *, workers: int = 2, keep_going: bool = False, offline: bool = False
) -> tuple[Counter[str], list[Result]]:
    """Play seeds in processes; return how many ended how, and those that broke an invariant."""
    outcomes: Counter[str] = Counter()
    broken: list[Result] = []
    chunks = [numbers[index : index + 20] for index in range(0, len(numbers), 20)]
    some = partial(play_some, offline=offline, keep_going=keep_going)
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for result in chain.from_iterable((pool.map if pool is not None else map)(some, chunks)):
            outcomes[result.outcome] += 1
            if result.broken:
                broken.append(result)
                if not keep_going:
                    if pool is not None:
                        pool.shutdown(wait=True, cancel_futures=True)
                    break
    return outcomes, broken


@cache
def _spare_the_collector() -> None:
    """Modules and classes live as long as the process: the garbage collector need not walk through them again and again."""
    gc.collect()
    gc.freeze()


def play_some(seeds: list[int], *, offline: bool = False, keep_going: bool = False) -> list[Result]:
    """Play seeds one after another, up to the first that breaks (or all), in a process of its own."""
    kind = OFFLINE if offline else CANARY
    played: list[Result] = []
    _spare_the_collector()
    for seed in seeds:
        result = kind.simulate(seed)
        played.append(result if result.broken else Result(seed, result.outcome))
        if result.broken and not keep_going:
            break
    return played


def tell(seed: int, kind: Kind) -> int:
    """Print one seed step by step."""
    print(f"seed {seed}: {kind.words(seed)}")
    result = kind.simulate(seed)
    print("\n".join(result.story))
    print(f"\n{result.broken or result.outcome}")
    return 1 if result.broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--replay", type=int)
    parser.add_argument("--like", default="")
    parser.add_argument("--offline", action="store_true")
    asked = parser.parse_args()
    kind = OFFLINE if asked.offline else CANARY
    if asked.replay is not None:
        return tell(asked.replay, kind)
    numbers = chosen(asked.first, asked.seeds, asked.like, kind)
    outcomes, broken = play(numbers, workers=asked.workers, keep_going=asked.keep_going, offline=asked.offline)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    for result in broken:
        print(f"seed {result.seed}: {result.broken}\n    python -m tests.simulation {kind.option}--replay {result.seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

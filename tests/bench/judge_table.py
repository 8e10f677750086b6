"""Detection times and false alarms of the judge, beside the fixed-threshold rules of peers: `python -m tests.bench.judge_table`.

Every figure follows from fixed seeds; `--quick` draws fewer runs and says so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from rollout.core import judge_counts, windows
from rollout.core.judge_certificate import relative_e_value, requests_without_events
from rollout.core.judge_counts import CountParameters, CountState
from rollout.core.judge_rank import RankParameters
from tests.bench import judge_gauges, judge_promotion
from tests.bench.judge_gauges import Service
from tests.bench.judge_peers import RULES, rule_alarms
from tests.bench.judge_promotion import Promotion
from tests.bench.judge_worlds import DAY, World, alarms, first, healthy, judged, known, part, quantile, since, windows_of

RATES = (6, 60, 600)
EXACT = CountParameters(DAY, r0=1.0, cap=None)
SHIPPED = CountParameters(DAY, r0=1.0)
TOLERANT = CountParameters(DAY, r0=1.5)
HISTORY = int(windows.HISTORY.total_seconds() / 60)
"""Windows of the baseline that a rollout reads before its own beginning."""
JUDGES = (
    ("e-process, formula alone", EXACT, 0),
    ("as shipped, r0 = 1", SHIPPED, HISTORY),
    ("as shipped, r0 = 1.5", TOLERANT, HISTORY),
)
Times = list[int | None]
Run = Callable[[World], Times]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.judge_table", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 runs instead of 1,000: two minutes instead of twenty")
    parser.add_argument("--runs", type=int, default=0, help="how many runs behind each figure")
    chosen = parser.parse_args(arguments)
    runs = chosen.runs or (100 if chosen.quick else 1000)
    print(f"{runs} runs behind each figure, fixed seeds; windows of a minute, one canary pod beside ten, base error rate 1 %")
    for table in (peers, requests_until_alarm, late_onset, bursts, worlds, certificates, promotions, gauges):
        table(runs)


def peers(runs: int) -> None:
    """Print false alarms of a healthy day and the time to detect 3 %, for every rule."""
    title("Healthy day: false alarms; 1 % -> 3 % from the start: median minutes until found")
    row("requests a minute on the canary", [f"{n} false" for n in RATES] + [f"{n} found" for n in RATES])
    rules: list[tuple[str, dict[int, Run]]] = [
        (name, dict.fromkeys(RATES, partial(rule_alarms, rule, runs=runs, seed=1))) for name, rule in RULES
    ]
    rules += [(name, dict.fromkeys(RATES, partial(alarms, p, runs=runs, seed=1, history=h))) for name, p, h in JUDGES]
    rules += [(f"{name}, no history", dict.fromkeys(RATES, partial(alarms, p, runs=runs, seed=1))) for name, p, h in JUDGES if h]
    for name, run in rules:
        false = [percent(part(run[n](healthy(n)))) for n in RATES]
        found = [minutes(run[n](replace(healthy(n), bad_rate=0.03))) for n in RATES]
        row(name, false + found)


def requests_until_alarm(runs: int) -> None:
    """Print how many canary requests each fault takes, in windows of ten requests."""
    title("Canary requests until the alarm, median / 90th percentile (ten requests a window, r0 = 1)")
    row("stable -> canary", [name for name, *_ in JUDGES])
    for rate, bad in ((0.01, 0.02), (0.01, 0.03), (0.01, 0.05), (0.01, 0.1), (0.001, 0.03), (0.01, 0.5)):
        world = World(10, 100, rate=rate, bad_rate=bad)
        times = [alarms(p, world, runs, 2, h) for _, p, h in JUDGES]
        row(f"{rate:.1%} -> {bad:.0%}", [f"{both(t, 10)}" for t in times])


def late_onset(runs: int) -> None:
    """Print how long a fault takes that begins at hour 20."""
    title("1 % -> 3 % at hour 20: minutes until found, median / 90th percentile; alarms before it")
    row("requests a minute", [name for name, *_ in JUDGES] + ["whole run alone"])
    for n in RATES:
        world = replace(healthy(n), bad_rate=0.03, onset=1200, windows=DAY + 360)
        times = [alarms(p, world, max(20, runs // 5), 3, h) for _, p, h in JUDGES]
        times.append(first(max(20, runs // 5), 3, partial(whole_run_at, world)))
        early = [percent(sum(t is not None and t <= 1200 for t in each) / len(each)) for each in times]
        row(str(n), [f"{both(since(1200, t))} ({e})" for t, e in zip(times, early, strict=True)])


def bursts(runs: int) -> None:
    """Print false alarms of a healthy day when errors come in clumps."""
    title("Errors in clumps, healthy day: false alarms at 6 / 60 / 600 requests a minute")
    row("clumps", [name for name, *_ in JUDGES])
    for label, clump, ragged in (("of 5", 5, False), ("of 5 on average", 5, True), ("of 20", 20, False)):
        cells = []
        for _, p, h in JUDGES:
            found = [part(alarms(p, replace(healthy(n), clump=clump, ragged=ragged), max(20, runs // 3), 4, h)) for n in RATES]
            cells.append(" / ".join(percent(f) for f in found))
        row(label, cells)


def worlds(runs: int) -> None:
    """Print false alarms of healthy days that are not plain."""
    title("Other healthy days: false alarms")
    row("", [name for name, *_ in JUDGES])
    days = (
        ("base rate 0.1 %, 60 a minute", healthy(60, rate=0.001)),
        ("base rate 5 %, 60 a minute", healthy(60, rate=0.05)),
        ("0.6 a minute", healthy(0.6)),
        ("daily load cycle, 4 to 36 a minute", replace(healthy(20), swing=0.8)),
        ("one, two, three replicas", replace(healthy(20), grow_every=360)),
        ("ten minutes of 30 % errors on both", replace(healthy(60), incident=(400, 410, 0.3))),
        ("true share 12.5 %, measured", World(60, 420)),
    )
    for label, world in days:
        row(label, [percent(part(alarms(p, world, max(20, runs // 3), 5, h))) for _, p, h in JUDGES])
    row("true share 12.5 %, taken for 9.1 %", [percent(part(misjudged(p, max(20, runs // 3)))) for _, p, _ in JUDGES])


def certificates(runs: int) -> None:
    """Print how often and how soon a candidate is certified good enough."""
    title("Good enough at alpha' = 5 %: part certified, canary requests median / 90th percentile (60 a minute)")
    row("canary", [name for name, *_ in JUDGES])
    for label, bad in (("equal", 0.01), ("half the errors", 0.005), ("three times as bad", 0.03)):
        cells = []
        for _, p, h in JUDGES:
            world = World(10, 100, bad_rate=bad, windows=720)
            times = first(max(20, runs // 3), 6, partial(certified_at, p, world, h))
            cells.append(f"{percent(part(times))}, {both(times, 10)}")
        row(label, cells)
    bounds = ", ".join(f"{requests_without_events(limit)} certify < {limit:.1%}" for limit in (0.01, 0.005, 0.001))
    print(f"requests without an error: {bounds}")


def promotions(runs: int) -> None:
    """Print promotions judged against the soak's frozen counts."""
    title("Promotion (77 min) and bake (60 min) against frozen counts, r0 = 1.5: alarms, minutes median / 90th percentile")
    for label, promotion in (
        ("healthy, 60 requests a pod and minute", Promotion()),
        ("healthy, 6", Promotion(per_pod=6)),
        ("healthy, clumps of 5", Promotion(clump=5)),
        ("healthy, 1.3 times yesterday's errors", Promotion(drift=1.3)),
        ("1 % -> 2 %", Promotion(bad_rate=0.02)),
        ("1 % -> 3 %", Promotion(bad_rate=0.03)),
        ("1 % -> 3 %, 6 requests", Promotion(per_pod=6, bad_rate=0.03)),
        ("1 % -> 10 %", Promotion(bad_rate=0.1)),
    ):
        times = first(runs, 7, partial(judge_promotion.alarm_at, promotion))
        row(label, [percent(part(times)), both(times)])


def gauges(runs: int) -> None:
    """Print the rank test of a p95 per pod."""
    title("p95 per pod, five-minute windows, one canary pod among ten: alarms, windows median / 90th percentile")
    row("pods differ by 5 % for good", ["tol = 0", "tol = 0.2"])
    for label, service in (
        ("healthy", Service()),
        ("healthy, one value in twenty tenfold", Service(burst=0.05)),
        ("half again as slow", Service(factor=1.5)),
        ("half again as slow from hour 20", Service(factor=1.5, onset=240)),
    ):
        cells = []
        for tolerance in (0.0, 0.2):
            p = RankParameters(288, tolerance=tolerance)
            times = first(runs, 8, partial(judge_gauges.alarm_at, p, service))
            cells.append(f"{percent(part(times))}, {both(since(service.onset, times))}")
        row(label, cells)


def crossing(parameters: CountParameters, steps: Iterable[tuple[CountState, float]]) -> int | None:
    """Say after how many windows the line is reached."""
    return next((t for t, (_, e) in enumerate(steps, start=1) if e >= parameters.line), None)


def whole_run_at(world: World, random: Random) -> int | None:
    """Run the mixture without restarts."""
    steps = enumerate(judged(EXACT, windows_of(world, random)), start=1)
    return next((t for t, (state, _) in steps if judge_counts.whole_run_e_value(state) >= EXACT.line), None)


def misjudged(parameters: CountParameters, runs: int) -> Times:
    """Give the test replica shares where the traffic is shared otherwise."""

    def once(random: Random) -> int | None:
        windows = windows_of(World(60, 420), random)
        assumed = (replace(w, candidate_requests=1, baseline_requests=10) for w in windows)
        return crossing(parameters, judged(parameters, assumed))

    return first(runs, 5, once)


def certified_at(parameters: CountParameters, world: World, watched: int, random: Random) -> int | None:
    """Say after how many windows the comparison certifies."""
    begin = known(parameters, world, random, watched)
    steps = enumerate(judged(parameters, windows_of(world, random), begin), start=1)
    return next((t for t, (state, _) in steps if relative_e_value(state) >= 1 / parameters.alpha_good), None)


def title(words: str) -> None:
    """Begin a table."""
    print(f"\n{words}")


def row(label: str, cells: Sequence[str]) -> None:
    """Print a line of a table."""
    print("| " + " | ".join([f"{label:36}", *(f"{cell:>12}" for cell in cells)]) + " |", flush=True)


def percent(value: float) -> str:
    """Word a part of the runs."""
    return f"{100 * value:.1f} %".replace(".0 %", " %")


def minutes(times: Times) -> str:
    """Word the median; where fewer than half were found, how many were."""
    middle = quantile(times, 0.5)
    return f"{middle:.0f}" if math.isfinite(middle) else f"({percent(part(times))} at all)"


def both(times: Times, each: int = 1) -> str:
    """Word median and 90th percentile, `-` where too few were found."""
    figures = (quantile(times, 0.5) * each, quantile(times, 0.9) * each)
    return " / ".join(f"{figure:.0f}" if math.isfinite(figure) else "-" for figure in figures)


if __name__ == "__main__":
    main()

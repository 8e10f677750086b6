"""Counts of one window: the hard guard, the absolute limit, the count test against the baseline, and whether there was traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from rollout.core import judge_bursts, judge_frozen, judge_rules
from rollout.core import judge_counts as test
from rollout.core.evidence_state import SignalState, Verdict
from rollout.core.judge import Judgement, judge_window
from rollout.core.judge_bursts import BurstCap
from rollout.core.judge_certificate import good_enough
from rollout.core.judge_counts import UNMEASURED_R0, CountParameters, CountState, CountWindow
from rollout.core.judge_frozen import FrozenBaseline
from rollout.core.replacing import replace
from rollout.core.signals import PodCount, Window
from rollout.core.signals_compiled import JudgeKind, Signal
from rollout.core.wording import listed, number, percent, span

NOT_MEASURED = -1.0
"""Stands in evidence for requests that a signal does not measure. Stored: never change."""
BUSY_REQUESTS = 20
"""Requests that a candidate's equal part of the traffic would have brought it: below this, none at all proves nothing."""
MISROUTED_WINDOWS = 3
IDLE_AFTER = timedelta(minutes=15)
"""So long without the requests that earn credit, a candidate is idle: a quiet service has empty minutes all day."""
MOST_KINDS = 200
"""Kinds of error that are remembered. A soak that showed so many had no end of them: then another one says nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the judge must know of the rollout: its id (ties are broken by it), how long its tests may last.

    `warm_up`: how long a pod must have been ready to be compared; until then only the hard guards look at it.
    `rolling`: the stable is being or has been promoted, the baseline vanishes, and the soak's frozen counts stand in for it.
    `looking`: somebody looked just before as well, so a first answer that is overdue is the source's fault.
    """

    rollout: str
    planned_hours: float
    rolling: bool = False
    rolling_hours: float = 6.0
    warm_up: timedelta = timedelta()
    looking: bool = False


@dataclass(frozen=True, slots=True)
class _Sum:
    events: float
    requests: float
    measured: bool
    kinds: frozenset[str]


def _add(by_pod: Mapping[str, PodCount], names: tuple[str, ...], minutes: float) -> _Sum:
    counts = [by_pod[name] for name in names if name in by_pod]
    measured = all(count.requests is not None for count in counts)
    requests = sum(count.requests or 0.0 for count in counts) if measured else len(counts) * minutes
    return _Sum(sum(c.events for c in counts), requests, measured, frozenset(kind for c in counts for kind in c.kinds))


def judge_counts(
    setting: Setting,
    signal: Signal,
    state: SignalState,
    by_pod: Mapping[str, PodCount],
    candidate: tuple[str, ...],
    baseline: tuple[str, ...],
    window: Window,
) -> SignalState:
    """Use one window of counts: sums per cohort, then the rules in the order kinds, limit or ratio, traffic."""
    minutes = window.length.total_seconds() / 60
    mine, theirs = _add(by_pod, candidate, minutes), _add(by_pod, baseline, minutes)
    sums = (mine.events, mine.requests, theirs.events, theirs.requests)
    totals = tuple(a + b for a, b in zip(state.since_summary, sums, strict=True))
    state = replace(
        state,
        used_until=window.end,
        last=_figures(mine, theirs),
        since_summary=(totals[0], totals[1], totals[2], totals[3]),
    )
    only_mine = dict.fromkeys(mine.kinds - theirs.kinds, 1.0) if setting.rolling else {}
    too_many = len(state.kinds) >= MOST_KINDS
    unseen = () if too_many else judge_rules.unseen_kinds(frozenset(state.kinds), only_mine)
    if not setting.rolling and (mine.kinds or theirs.kinds):
        state = replace(state, kinds=tuple(sorted({*state.kinds, *mine.kinds, *theirs.kinds}))[:MOST_KINDS])
    if unseen:
        return replace(state, verdict=Verdict.FAILING, why=f"an error that the soak never showed: {listed(unseen, 2)}")
    if signal.judge is JudgeKind.LIMIT:
        state = _limit(signal, state, mine, theirs)
    else:
        counts = CountWindow(mine.events, mine.requests, theirs.events, theirs.requests)
        state = _ratio(setting, signal, state, counts, window, measured=mine.measured)
    if state.verdict in {Verdict.FAILING, Verdict.SUSPECT, Verdict.SHARED}:
        return state
    return _traffic(signal, state, mine, theirs, window, len(candidate) / len(baseline) if baseline else 0.0)


def guard_pods(
    state: SignalState, by_pod: Mapping[str, PodCount], candidate: tuple[str, ...], baseline: tuple[str, ...], window: Window
) -> SignalState:
    """Hard guard pod by pod, young ones as well: one new pod that mostly fails is not diluted by others that do not.

    Fails where at least half of a pod's 20 or more requests failed; where the baseline shows half of that rate, it holds.
    """
    theirs = _add(by_pod, baseline, 0.0)
    for name in candidate:
        count = by_pod.get(name)
        if count is None or count.requests is None or not judge_rules.mostly_failing(count.events, count.requests):
            continue
        counts = CountWindow(count.events, count.requests, theirs.events, theirs.requests)
        verdict = Verdict.SHARED if theirs.measured and judge_rules.baseline_as_bad(counts) else Verdict.FAILING
        failed = f"{name}: {number(count.events)} of {number(count.requests)} requests failed in a window"
        why = f"{failed} ({percent(count.events / count.requests)}), baseline {percent(_rate(theirs))}"
        mine = _Sum(count.events, count.requests, measured=True, kinds=frozenset())
        return replace(state, used_until=window.end, verdict=verdict, why=why, last=_figures(mine, theirs))
    return state


def learn_baseline(
    setting: Setting, signal: Signal, state: SignalState, by_pod: Mapping[str, PodCount], baseline: tuple[str, ...], window: Window
) -> SignalState:
    """Learn from a window without a candidate how the baseline's errors clump; it is no evidence about anybody."""
    if setting.rolling or signal.judge is not JudgeKind.RATIO or not any(name in by_pod for name in baseline):
        return state
    theirs = _add(by_pod, baseline, window.length.total_seconds() / 60)
    count = state.count or test.start(parameters(setting, signal, measured=theirs.measured))
    return replace(state, count=replace(count, clumping=judge_bursts.watch(count.clumping, theirs.events, theirs.requests)))


def _figures(mine: _Sum, theirs: _Sum) -> tuple[tuple[str, float], ...]:
    return (
        ("candidate events", mine.events),
        ("candidate requests", mine.requests if mine.measured else NOT_MEASURED),
        ("baseline events", theirs.events),
        ("baseline requests", theirs.requests if theirs.measured else NOT_MEASURED),
    )


def _rate(part: _Sum) -> float:
    return part.events / part.requests if part.requests else 0.0


def _limit(signal: Signal, state: SignalState, mine: _Sum, theirs: _Sum) -> SignalState:
    limit = signal.limit if signal.limit is not None else 0.0
    window = CountWindow(mine.events, mine.requests, theirs.events, theirs.requests)
    if mine.measured and judge_rules.mostly_failing(mine.events, mine.requests):
        verdict = Verdict.SHARED if judge_rules.baseline_as_bad(window) else Verdict.FAILING
        words = f"candidate {number(mine.events)} of {number(mine.requests)} requests failed in a window"
        return replace(state, verdict=verdict, why=f"{words}; baseline {percent(_rate(theirs))}")
    if mine.measured and mine.requests < max(1, signal.min_requests):
        return replace(state, verdict=Verdict.HEALTHY, why="no window with enough requests is over the limit")
    rate = _rate(mine)
    words = f"candidate {percent(rate)}, limit {percent(limit)}"
    if not mine.measured:
        words = f"candidate {number(rate)} a pod and minute, limit {number(limit)}"
    if rate > limit and theirs.requests >= signal.min_requests and _rate(theirs) > limit:
        return replace(state, verdict=Verdict.SHARED, why=f"{words}; baseline {percent(_rate(theirs))} as well")
    bad = judge_rules.remember(state.bad, rate > limit, signal.n)
    state = replace(state, bad=bad)
    if judge_rules.k_of_n(bad, signal.k, signal.n):
        return replace(state, verdict=Verdict.FAILING, why=f"{words}, over it in {sum(bad)} of the last {len(bad)} windows")
    if rate > limit:
        return replace(state, verdict=Verdict.SUSPECT, why=f"{words}, over it {sum(bad)} of {signal.k} times that fail")
    return replace(state, verdict=Verdict.HEALTHY, why=words, certified=True)


def parameters(setting: Setting, signal: Signal, *, measured: bool) -> CountParameters:
    """Compile a signal's settings to the count test's; always the same for one rollout and signal."""
    planned = max(1, int(setting.planned_hours * 3600 / signal.window.total_seconds()))
    r0 = signal.r0 if measured else max(signal.r0, UNMEASURED_R0)
    cap = BurstCap(signal.burst_candidate, signal.burst_baseline)
    return CountParameters(planned, alpha=signal.alpha, r0=r0, measured=measured, cap=cap)


def _ratio(
    setting: Setting, signal: Signal, state: SignalState, counts: CountWindow, window: Window, *, measured: bool
) -> SignalState:
    rules = parameters(setting, signal, measured=measured)
    before = state.count if state.count is not None else test.start(rules)
    if setting.rolling:
        return _rolling(setting, signal, state, counts, window, before, rules)
    after = test.update(rules, before, counts)
    frozen = judge_frozen.freeze(
        state.frozen or FrozenBaseline(), window.start.hour, counts.baseline_events, counts.baseline_requests
    )
    judged = judge_window(signal.name, rules, before, counts, after)
    proof = good_enough(rules, after)
    certified, words = proof.certified, proof.why
    if not measured and not certified and after.candidate_events == 0:
        certified, words = after.candidate_requests > 0, f"no event at all in {number(after.candidate_requests)} pod-minutes"
    verdict, why = _said(signal, judged, rules.line)
    return replace(state, count=after, frozen=frozen, certified=certified, certificate=words,
                   verdict=verdict, why=why, e_value=min(judged.e_value, 1e300))  # fmt: skip


def _rolling(
    setting: Setting,
    signal: Signal,
    state: SignalState,
    counts: CountWindow,
    window: Window,
    soaked: CountState,
    rules: CountParameters,
) -> SignalState:
    """Promotion and bake: the frozen counts of the soak fill up what the vanishing baseline lacks."""
    planned = max(1, int(setting.rolling_hours * 3600 / signal.window.total_seconds()))
    own = judge_frozen.parameters_for(rules, planned)
    before = state.rolling if state.rolling is not None else judge_frozen.begin(own, soaked)
    seed = f"{setting.rollout}/{signal.name}/{window.start.isoformat()}"
    left, filled = judge_frozen.stand_in(state.frozen or FrozenBaseline(), counts, hour=window.start.hour, seed=seed)
    after = replace(test.update(own, before, filled), clumping=before.clumping)
    judged = judge_window(signal.name, own, before, filled, after)
    verdict, why = _said(signal, judged, own.line)
    return replace(state, rolling=after, frozen=left, verdict=verdict, why=why, e_value=min(judged.e_value, 1e300))


def _said(signal: Signal, judged: Judgement, line: float) -> tuple[Verdict, str]:
    """Take the judge's word; where a signal counts, reaching the line is for all of them together (findings.together)."""
    verdict, e_value = judged.verdict, judged.e_value
    by_test = verdict is Verdict.FAILING and e_value >= line
    if by_test and signal.counts:
        verdict = Verdict.SUSPECT
    words = judged.why.removeprefix(f"{signal.name}: ")
    if by_test:
        acts = f"acts when all signals average {number(line)}" if signal.counts else f"acts at {number(line)}"
        words = f"{words.split('; ')[0]}, E = {number(e_value)} ({acts})"
    return Verdict.HEALTHY if verdict is Verdict.IDLE else verdict, words


def _traffic(signal: Signal, state: SignalState, mine: _Sum, theirs: _Sum, window: Window, part: float) -> SignalState:
    """Without enough requests nothing is healthy; a busy baseline beside an idle candidate is a routing fault."""
    if not mine.measured:
        return replace(state, idle_windows=0)
    waiting = state.waiting_requests + mine.requests
    if waiting >= max(1, signal.min_requests):
        return replace(state, idle_windows=0, waiting_requests=0.0, traffic_at=window.end)
    state = replace(state, waiting_requests=waiting, traffic_at=state.traffic_at or window.start)
    expected = theirs.requests * part
    if mine.requests == 0 and expected >= BUSY_REQUESTS:
        idle = state.idle_windows + 1
        words = f"the candidate got no request where {number(expected)} were its part: is it in the Service?"
        return replace(state, idle_windows=idle, verdict=Verdict.IDLE, why=words)
    quiet = window.end - (state.traffic_at or window.start)
    if quiet < IDLE_AFTER:
        return replace(state, idle_windows=0)
    words = f"{number(waiting)} candidate requests in {span(quiet)}, {max(1, signal.min_requests)} are needed"
    return replace(state, idle_windows=0, verdict=Verdict.IDLE, why=words)

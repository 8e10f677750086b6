"""The drawing of signals over time: both cohorts can be compared, and the line can be seen coming."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console

from rollout.cli.curves import BARS, approach, lines, signals
from rollout.cli.pictures import picture
from rollout.cli.portrait import Curve, Hour, portrait_of
from rollout.core.evidence_state import SignalState, Verdict
from tests.simulation.days import FAILED_CALLS, Day, H

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def hour(mine: tuple[float, float], theirs: tuple[float, float], e_value: float) -> Hour:
    figures = zip(("candidate events", "candidate requests", "baseline events", "baseline requests"), (*mine, *theirs), strict=True)
    return Hour(NOON, (*figures, ("E", e_value)), "healthy")


def curve(*hours: Hour, e_value: float = 0.5) -> Curve:
    last = (("candidate events", 3.0), ("candidate requests", 41.0), ("baseline events", 1.0), ("baseline requests", 500.0))
    return Curve(SignalState("apisix-5xx", verdict=Verdict.SUSPECT, last=last, e_value=e_value), 100.0, hours)


def printed(*curves: Curve) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(signals(curves))
    return capture.get()


def test_both_cohorts_are_drawn_on_one_scale() -> None:
    mine, theirs = lines(curve(hour((1, 100), (10, 1000), 1), hour((8, 100), (10, 1000), 1)))
    assert theirs[0] == theirs[1] == mine[0]
    assert mine[1] == BARS[-1]


def test_an_hour_without_requests_is_a_gap_and_not_a_zero() -> None:
    mine, theirs = lines(curve(hour((0, 0), (10, 1000), 1)))
    assert (mine, theirs) == ("·", BARS[-1])


def test_the_evidence_climbs_to_the_line_on_a_logarithmic_scale() -> None:
    drawn = approach(curve(*(hour((1, 100), (10, 1000), e) for e in (0.01, 1.0, 10.0, 99.0)), e_value=100.0))
    assert drawn.endswith(BARS[-1] + "┤")
    levels = [BARS.index(bar) for bar in drawn[:-1]]
    assert levels == sorted(levels)
    assert levels[0] == 1
    assert levels[1] < levels[2] < levels[3] < levels[4] == 8


def test_the_last_window_of_both_and_the_line_are_written_out() -> None:
    text = printed(curve(hour((1, 100), (10, 1000), 1), e_value=31))
    assert "canary  3/41 7.3 %" in text
    assert "stable  1/500 0.2 %" in text
    assert "E 31    acts at 100" in text


def test_a_rollout_of_hours_shows_each_signal_of_both_cohorts_and_the_line() -> None:
    day = Day(FAILED_CALLS, "apisix-latency", requests=660.0).run(5 * H)
    row = day.store.rollout(day.id)
    assert row is not None
    portrait = portrait_of(day.store, day.codec, row, day.clock.now())
    assert [len(one.hours) for one in portrait.curves] == [4, 4]
    assert all(len(bars) == 4 for one in portrait.curves for bars in lines(one))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(picture(portrait))
    text = capture.get()
    assert text.count("acts at 100") == 2
    assert text.count(" canary ") >= 2
    document = portrait.as_document()["signals"][0]
    assert document["line"] == 100
    assert {"candidate events", "baseline events", "E"} <= document["hours"][0]["counts"].keys()
    assert timedelta(minutes=50) < portrait.curves[0].hours[1].at - portrait.curves[0].hours[0].at < timedelta(minutes=70)

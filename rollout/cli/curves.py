"""Signals over time for the terminal: both cohorts on one scale, and below them how near the evidence is to the line.

    SIGNAL      VERDICT   WHO     LAST WINDOW       BY HOUR
    apisix-5xx  suspect   canary  9/600 1.5 %       ▁▁▁▂▃▅
                          stable  58/6000 1 %       ▁▁▂▁▁▂
                          E 31    acts at 100       ▁▁▁▁▃▆┤

E is drawn on a logarithmic scale: empty at 0.1 and below, full at the line at which the signal acts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from rollout.cli.portrait import Curve, Hour
from rollout.core.evidence_state import Verdict
from rollout.core.wording import number, percent

BARS = " ▁▂▃▄▅▆▇█"
UNKNOWN = "·"
LONGEST = 28
"""Hours that are drawn: a soak of a day, and the promotion."""
LEAST_E = 0.1
VERDICTS = {Verdict.HEALTHY: "green", Verdict.FAILING: "bold red", Verdict.SUSPECT: "yellow"}


def signals(curves: Sequence[Curve]) -> Table:
    """Draw every signal in two or three lines."""
    table = Table(box=None, pad_edge=False)
    for column in ("SIGNAL", "VERDICT", "WHO", "LAST WINDOW", "BY HOUR"):
        table.add_column(column, no_wrap=True)
    for curve in curves:
        state = curve.state
        verdict = Text(state.verdict.value, style=VERDICTS.get(state.verdict, "white"))
        mine, theirs = lines(curve)
        table.add_row(state.name, verdict, "canary", _last(curve, "candidate"), mine)
        table.add_row("", "", "stable", _last(curve, "baseline"), Text(theirs, style="dim"))
        if state.e_value or any(hour.figure("E") for hour in curve.hours):
            words = Text(f"E {number(state.e_value)}", style="yellow" if state.e_value >= math.sqrt(curve.line) else "dim")
            table.add_row("", "", words, f"acts at {number(curve.line)}", approach(curve))
    return table


def lines(curve: Curve) -> tuple[str, str]:
    """Draw the candidate's and the baseline's rate by hour, on one scale, so that they can be compared by eye."""
    hours = curve.hours[-LONGEST:]
    mine, theirs = ([_rate(hour, who) for hour in hours] for who in ("candidate", "baseline"))
    top = max((value for value in (*mine, *theirs) if value is not None), default=0.0)
    return _bars(mine, top), _bars(theirs, top)


def approach(curve: Curve) -> str:
    """Draw how near E came to the line by hour, and is now."""
    values = [hour.figure("E") for hour in curve.hours[-LONGEST:]]
    return "".join(_level(value, curve.line) for value in (*values, curve.state.e_value)) + "┤"


def _level(value: float | None, line: float) -> str:
    if value is None:
        return UNKNOWN
    part = math.log(max(value, LEAST_E) / LEAST_E) / math.log(line / LEAST_E)
    return BARS[-1] if part >= 1 else BARS[1 + int(part * 7)]


def _bars(values: Sequence[float | None], top: float) -> str:
    return "".join(UNKNOWN if value is None else BARS[1 + round(value / top * 7)] if top else BARS[1] for value in values)


def _rate(hour: Hour, who: str) -> float | None:
    single = hour.figure(who)
    if single is not None:
        return single
    events, requests = hour.figure(f"{who} events"), hour.figure(f"{who} requests")
    if events is None or not requests:
        return None
    return events / requests if requests > 0 else events


def _last(curve: Curve, who: str) -> str:
    last: Mapping[str, float] = dict(curve.state.last)
    if who in last:
        return number(last[who])
    events, requests = last.get(f"{who} events"), last.get(f"{who} requests")
    if events is None:
        return "-"
    if not requests or requests < 0:
        return number(events)
    return f"{number(events)}/{number(requests)} {percent(events / requests)}"

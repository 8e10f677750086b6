"""`rollout demo`: the real daemon against a pretend cluster, time compressed, and a verdict on whether it did what it should."""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from rich.console import Console

from rollout import logs
from rollout.adapters.clock import SystemClock
from rollout.adapters.notice_text import NEXT
from rollout.adapters.planfile import parse_planfile
from rollout.cli.demo_gate import GateWatch
from rollout.cli.demo_scenarios import chosen
from rollout.cli.demo_screen import LiveScreen, PlainScreen, Screen, Story
from rollout.cli.demo_story import Finding, Opening, Scenario
from rollout.cli.pictures import history_lines
from rollout.cli.stage import Scene, Stage
from rollout.core.errors import Problem, Refused, Unavailable
from rollout.core.history import Outcome
from rollout.ports import RolloutFilter, RolloutRow
from rollout.store import schema
from rollout.wiring import open_parts

LONGEST = timedelta(days=4)
"""Pretend time after which a story has not ended as it should."""
PATIENCE = 10.0
"""Real seconds for the daemon to take a rollout, and for the last notices to arrive."""


def run(scenario: str, database: str | None, *, plain: bool) -> bool:
    """Play one scenario, or the default ones; True when each ended as it should. Raises Refused for an unknown one."""
    scenarios = chosen(scenario)
    logs.configure("error", "console")
    with TemporaryDirectory(prefix="rollout-demo-") as folder:
        url = database or f"sqlite:///{folder}/demo.db"
        real = SystemClock()
        if database is not None:
            _refuse_busy(url)
        start = real.now() - sum((item.lasts for item in scenarios), timedelta())
        began = real.monotonic()
        with Stage(Scene(Path(folder), url, start)) as stage:
            verdicts = [_play(stage, item, plain=plain) for item in scenarios]
            _notices(stage)
        _goodbye(scenarios, verdicts, database, real.monotonic() - began)
    return all(finding.ok for findings in verdicts for finding in findings)


def _refuse_busy(url: str) -> None:
    """Keep away from a database in which rollouts are active: the demo's daemon would take them."""
    clock = SystemClock()
    schema.upgrade(url, clock=clock)
    from rollout.settings import Settings  # noqa: PLC0415 - only here

    with open_parts(Settings(), database=url, outside=False) as parts:
        active = parts.store.rollouts(RolloutFilter(outcomes=(Outcome.ACTIVE,), limit=1))
    if active:
        unfinished = active[0].plan_name.startswith("demo-")
        why = "an earlier demo was interrupted here" if unfinished else "not a place for a demo"
        remedy = "give the demo a database of its own, for example --database sqlite:///demo.db"
        raise Refused(f"rollout {active[0].id} is active in this database", (Problem(why, remedy=remedy),))


def _play(stage: Stage, scenario: Scenario, *, plain: bool) -> list[Finding]:
    opening = scenario.open(stage)
    read = parse_planfile(opening.plan.encode(), f"demo-{scenario.name}.yaml")
    submission = stage.parts.desk.submit(read.plan, read.source, "demo", again=True)
    row = submission.rollout
    story, gate = Story(stage, row, opening.gate), opening.gate
    _await_claim(stage, story)
    console = Console()
    screen: Screen = (
        PlainScreen(story, opening.title) if plain or not console.is_terminal else LiveScreen(story, opening.title, console)
    )
    end = stage.sandbox.clock.now() + LONGEST

    def over() -> bool:
        return story.active is None or stage.sandbox.clock.now() > end

    def seen(now: datetime) -> None:
        if gate is not None:
            gate.knock(now)
        screen.show(now)

    with screen:
        if not stage.play(over, read.plan.target, seen):
            raise Unavailable("demo", "the daemon did not come to rest within 20 s; is this machine very busy? try again")
        _await_notices(stage, row)
        if gate is not None:
            gate.knock(stage.sandbox.clock.now())
        screen.finish()
    return _tell(stage, opening, stage.parts.store.rollout(row.id) or row)


def _await_claim(stage: Stage, story: Story) -> None:
    """Wait until the daemon has taken the rollout: another of its threads may be just about to."""
    until = stage.sandbox.clock.monotonic() + PATIENCE
    pause = threading.Event()
    while story.active is None and stage.sandbox.clock.monotonic() < until:
        stage.daemon.upkeep.claim()
        pause.wait(0.01)


def _await_notices(stage: Stage, row: RolloutRow) -> None:
    """Let the outbox deliver what is still owed."""
    until = stage.sandbox.clock.monotonic() + PATIENCE
    pause = threading.Event()
    while stage.sandbox.clock.monotonic() < until:
        stage.daemon.outbox.deliver()
        if all(item["state"] != "owed" for item in stage.parts.store.notices(row.id)):
            return
        pause.wait(0.05)


def _tell(stage: Stage, opening: Opening, row: RolloutRow) -> list[Finding]:
    typer.echo(f"\nHistory of {row.id} ({row.outcome.value}):")
    history_lines(stage.parts.store.history(row.id, limit=100_000), evidence=False)
    if opening.gate is not None:
        _who_was_let_in(opening.gate)
    findings = list(opening.verify(row))
    for finding in findings:
        colour = "green" if finding.ok else "red"
        typer.secho(f"  {'ok    ' if finding.ok else 'WRONG '} {finding.what}", fg=colour)
    return findings


def _who_was_let_in(gate: GateWatch) -> None:
    gate.close()
    typer.echo("")
    for line in gate.lines():
        typer.echo(line)
    typer.echo("")


def _notices(stage: Stage) -> None:
    accepted = stage.sandbox.webhooks.accepted
    typer.echo(f"\nThe {len(accepted)} notices that the webhook got:")
    for message in accepted:
        first, *rest = html.unescape(message.text).splitlines() or [""]
        typer.echo(f"  {message.at:%d %H:%M}  {first}")
        for line in (*rest[:1], *(line for line in rest[1:] if line.startswith(NEXT))):
            typer.echo(f"            {line}")


def _goodbye(scenarios: Sequence[Scenario], verdicts: Sequence[Sequence[Finding]], database: str | None, seconds: float) -> None:
    typer.echo("")
    for scenario, findings in zip(scenarios, verdicts, strict=True):
        good = all(finding.ok for finding in findings)
        words = "ended as it should" if good else "did NOT end as it should"
        typer.secho(f"{scenario.name}: {words} ({scenario.ends_as.value})", fg="green" if good else "red")
    typer.echo(f"\n{seconds:.0f} seconds. What to type next:")
    if database is None:
        typer.echo("  rollout demo --database sqlite:///demo.db    keeps the rows; then:")
    place = database if database is not None and "@" not in database else "sqlite:///demo.db"
    typer.echo(f"  rollout list --all --database {place}")
    if not any(scenario.name.startswith("offline") for scenario in scenarios):
        typer.echo("  rollout demo --scenario offline              a maintenance behind a closed gate; offline-fails: the way back")
    typer.echo("  rollout sandbox                              a pretend cluster to play with; it says how (kubectl works)")
    typer.echo("  rollout serve --config config/rollout.yaml   the daemon, against your cluster: README.md, 'Running for real'")

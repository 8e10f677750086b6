"""Doctor, `signals test` and `notify test`: does what we are told to talk to answer, and is a plan fit to start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.context import (
    DATABASE_AWAY,
    EXIT_FAILED,
    EXIT_REFUSED,
    NO_DATABASE,
    ConfigOption,
    DatabaseOption,
    Output,
    OutputOption,
    emit,
    tried,
)
from rollout.cli.documents import time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rollout.core.errors import Problem
    from rollout.core.observation import Line
    from rollout.core.plan import Check
    from rollout.engine.trying import SignalTrial
    from rollout.wiring import Parts

notices = typer.Typer(help="Notices: test the channels.", no_args_is_help=True)
signals = typer.Typer(help="Signals: ask what a plan would ask, now.", no_args_is_help=True)

NOTHING_ASKED = "the plan names no signal: only Kubernetes itself would be watched"
TESTS_ONLY = "a maintenance is judged by its tests, not by signals; `rollout doctor PLAN` checks what it needs"
MARKS = {"ok": "ok     ", "warning": "WARNING", "refused": "REFUSED", "failed": "FAILED "}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(doctor)
    app.add_typer(signals, name="signals")


def doctor(
    plan: Annotated[Path | None, typer.Argument(help="A plan file: also run its preflight.", show_default=False)] = None,
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Check database, clusters, backends and channels; with a plan, everything that its preflight would check."""
    from rollout.adapters.planfile import parse_planfile  # noqa: PLC0415 - lazy
    from rollout.core.observation import Line as CheckLine  # noqa: PLC0415 - lazy
    from rollout.engine.doctoring import check_up  # noqa: PLC0415 - lazy
    from rollout.engine.planfolder import examine  # noqa: PLC0415 - lazy
    from rollout.wiring import questionable  # noqa: PLC0415 - lazy

    with tried(config, database) as parts:
        others: dict[str, object] = {f"cluster {name}": cluster for name, cluster in parts.clusters.items()}
        others |= {f"backend {name}": source for name, source in parts.sources.items()}
        others |= {f"gateway {name}": gateway for name, gateway in parts.offline.gateways.items()}
        lines = [_closed(one) for one in parts.cannot_open()]
        there = parts.unopened.keys().isdisjoint({NO_DATABASE, DATABASE_AWAY})
        lines += check_up(parts.store if there else None, others)
        lines += [CheckLine(f"channel {x}", "ok", f"configured; `rollout notify test {x}` tries it") for x in parts.notifiers]
        lines += questionable(parts.settings)
        if (folder := parts.settings.plans.folder) is not None:
            lines += examine(folder, _check(parts), parse_planfile)
        if plan is not None:
            lines += _preflight(parts, plan)
        _print(lines, output)
        if any(line.level == "refused" for line in lines):
            raise typer.Exit(EXIT_REFUSED)


def _closed(one: Problem) -> Line:
    """Word what cannot be opened. A database that nobody has made yet is no fault before the first plan."""
    from rollout.core.observation import Line as CheckLine  # noqa: PLC0415 - lazy

    if one.key == NO_DATABASE:
        return CheckLine("database", "warning", one.message, one.remedy)
    return CheckLine(one.key, "refused", one.message, one.remedy)


def _preflight(parts: object, plan: Path) -> Iterable[Line]:
    from rollout.adapters.planfile import load_planfile  # noqa: PLC0415 - lazy
    from rollout.core.decision import Execution  # noqa: PLC0415 - lazy
    from rollout.core.machine import begin  # noqa: PLC0415 - lazy
    from rollout.core.observation import Line as CheckLine  # noqa: PLC0415 - lazy
    from rollout.core.observation import Task  # noqa: PLC0415 - lazy
    from rollout.core.plan import CanaryPlan  # noqa: PLC0415 - lazy
    from rollout.engine.preflight import Preflight  # noqa: PLC0415 - lazy
    from rollout.wiring import Parts, performers  # noqa: PLC0415 - lazy

    assert isinstance(parts, Parts)  # noqa: S101 - for the type checker: imported lazily
    read = load_planfile(plan)
    compiled = read.plan.signals if isinstance(read.plan, CanaryPlan) else ()
    execution = Execution("doctor", read.plan, compiled)
    away = DATABASE_AWAY in parts.unopened
    lines = [CheckLine("plan", "refused", str(problem)) for problem in _check(parts)(read.plan)]
    if isinstance(read.plan, CanaryPlan):
        found = Preflight(parts.clusters, parts.sources, parts.store, parts.clock).examine(execution)
        return [*lines, *(_unknown(line) if away and line.name == "target" else line for line in found)]
    state, made = begin(execution, parts.clock.now()), performers(parts)
    for kind in ("offline-preflight", "assess"):
        lines += made[kind](execution, state, Task(kind, kind)).lines
    return lines


def _check(parts: Parts) -> Check:
    """Choose what can be said of a plan: nothing that only the database knows where it is away."""
    return parts.desk.check_alone if DATABASE_AWAY in parts.unopened else parts.desk.check


def _unknown(line: Line) -> Line:
    """Say nothing of other rollouts where nobody can be asked."""
    words = "whether another rollout is active on it is not known: the database does not answer"
    return replace(line, level="warning", message=words, remedy="")


def _print(lines: Iterable[Line], output: Output) -> None:
    if output is Output.JSON:
        emit([{"check": x.name, "level": x.level, "message": x.message, "remedy": x.remedy} for x in lines])
        return
    for line in lines:
        typer.echo(f"{MARKS.get(line.level, line.level)}  {line.name}: {line.message}")
        if line.remedy:
            typer.echo(f"         -> {line.remedy}")


@notices.command("test")
def notify_test(
    channel: Annotated[str, typer.Argument(help="Only this channel.", show_default=False)] = "",
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Send a test notice through each channel, and say what each answered."""
    from rollout.core.errors import Problem, Refused, RolloutError  # noqa: PLC0415 - lazy
    from rollout.core.plan_errors import unknown  # noqa: PLC0415 - lazy
    from rollout.engine.doctoring import test_message  # noqa: PLC0415 - lazy

    with tried(config, database) as parts:
        names = [entry.name for entry in parts.settings.channels]
        chosen = [name for name in names if channel in {"", name}]
        if not chosen:
            known = unknown(channel, names) if names else "add channels to the daemon's configuration"
            words = f"no channel {channel!r} is configured" if channel else "no channel is configured"
            raise Refused(words, (Problem(words, remedy=known),))
        failed = False
        for name in chosen:
            try:
                if (why := parts.unopened.get(f"channel {name}")) is not None:
                    raise why
                parts.notifiers[name].send(test_message(parts.clock.now()))
            except RolloutError as error:
                failed = True
                typer.echo(f"FAILED   {name}: {error}", err=True)
            else:
                typer.echo(f"ok       {name}: delivered")
        if failed:
            raise typer.Exit(EXIT_FAILED)


@signals.command("test")
def signals_test(
    plan: Annotated[Path, typer.Argument(help="A plan file.", show_default=False)],
    output: OutputOption = Output.TEXT,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Ask each signal of a plan now: the query as sent, the answer for the stable pods, the verdict that it would give.

    One stable pod plays the canary, and its last ten windows are judged against the others. Ends with 1 where a signal
    that counts would hold even a good canary.
    """
    from rollout.adapters.planfile import load_planfile  # noqa: PLC0415 - lazy
    from rollout.core.decision import Execution  # noqa: PLC0415 - lazy
    from rollout.core.errors import Problem, Refused  # noqa: PLC0415 - lazy
    from rollout.core.evidence_state import Verdict  # noqa: PLC0415 - lazy
    from rollout.core.plan import CanaryPlan  # noqa: PLC0415 - lazy
    from rollout.core.plan_errors import unknown  # noqa: PLC0415 - lazy
    from rollout.engine.trying import try_signals  # noqa: PLC0415 - lazy

    with tried(config, database) as parts:
        read = load_planfile(plan).plan
        execution = Execution("signals-test", read, read.signals if isinstance(read, CanaryPlan) else ())
        cluster = parts.clusters.get(execution.target.cluster)
        for needed in (f"cluster {execution.target.cluster}", *(f"backend {signal.backend}" for signal in execution.signals)):
            if (why := parts.unopened.get(needed)) is not None:
                raise why
        if cluster is None:
            words = f"no cluster {execution.target.cluster!r} is configured"
            raise Refused(words, (Problem(words, remedy=unknown(execution.target.cluster, tuple(parts.clusters))),))
        trials = list(try_signals(execution, cluster, parts.sources, parts.store, parts.clock))
        if output is Output.JSON:
            emit([_document(trial) for trial in trials])
        elif not trials:
            typer.echo(NOTHING_ASKED if isinstance(read, CanaryPlan) else TESTS_ONLY)
        else:
            typer.echo("\n\n".join(_words(trial) for trial in trials))
        counting = {signal.name for signal in execution.signals if signal.counts}
        if any(trial.verdict is not Verdict.HEALTHY for trial in trials if trial.signal in counting):
            raise typer.Exit(EXIT_FAILED)


def _document(trial: SignalTrial) -> dict[str, object]:
    window = trial.window
    return {
        "signal": trial.signal,
        "backend": trial.backend,
        "windowStart": None if window is None else time(window.start),
        "windowEnd": None if window is None else time(window.end),
        "pods": trial.pods,
        "query": trial.query,
        "answers": list(trial.answers),
        "standIn": trial.stand_in,
        "windowsJudged": trial.windows,
        "verdict": trial.verdict.value,
        "why": trial.why,
        "follows": trial.follows,
    }


def _words(trial: SignalTrial) -> str:
    lines = [f"{trial.signal} ({trial.backend})"]
    if trial.window is not None:
        lines.append(f"  window   {trial.window.start:%H:%M:%S} to {trial.window.end:%H:%M:%S} UTC, {trial.pods} stable pods")
        lines.append(f"  query    {trial.query.replace(chr(10), chr(10) + ' ' * 11)}")
    lines += [f"  answer   {answer}" for answer in trial.answers]
    if trial.windows:
        words = "1 window" if trial.windows == 1 else f"{trial.windows} windows"
        lines.append(f"  judged   {words}, as if {trial.stand_in} were the canary")
    lines.append(f"  verdict  {trial.verdict.value}: {trial.why}")
    lines.append(f"  follows  {trial.follows}")
    return "\n".join(lines)

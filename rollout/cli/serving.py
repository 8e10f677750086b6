"""The long-running commands: serve, sandbox, demo."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout.cli.context import EXIT_FAILED, ConfigOption, DatabaseOption, failures, prepared_database, settings_of

if TYPE_CHECKING:
    from rollout.settings import Settings

STOP_SECONDS = 5.0
LEAVE_SECONDS = 7.0
"""Real time for stopping cleanly, and after which it is not waited any longer."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(demo)
    app.command()(sandbox)


def serve(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    port: Annotated[int | None, typer.Option("--port", help="HTTP port; wins over the configuration.", min=0, max=65535)] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; it stops cleanly within 10 s."""
    from rollout import logs  # noqa: PLC0415 - lazy
    from rollout.core.errors import Refused  # noqa: PLC0415 - lazy
    from rollout.web.app import WebServer, make_app  # noqa: PLC0415 - lazy
    from rollout.wiring import build_daemon, open_parts, refuse_unreadable  # noqa: PLC0415 - lazy

    stopping = threading.Event()

    def stop(*_: object) -> None:
        """Also while it still starts: claiming thousands of rollouts, or waiting for a database, must not keep it."""
        if not stopping.is_set():
            stopping.set()
            _leave_within(LEAVE_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with failures():
        settings = settings_of(config)
        logs.configure(settings.log.level, settings.log.format)
        _question(settings)
        url = prepared_database(settings, database, upgrade=True)
        with open_parts(settings, database=url) as parts:
            refuse_unreadable(parts)
            daemon = build_daemon(parts)
            listen = settings.http.port if port is None else port
            web = WebServer(make_app(daemon), settings.http.host, listen)
            web.start()
            if not web.listening:
                raise Refused(f"cannot listen on {settings.http.host}:{listen}: is another daemon running there?")
            daemon.start()
            try:
                stopping.wait()
            finally:
                daemon.stop(STOP_SECONDS)
                web.stop()
        _leave_hanging_requests()


def _question(settings: Settings) -> None:
    """Log what the configuration may say and nobody should rely on."""
    import structlog  # noqa: PLC0415 - lazy

    from rollout.engine import events  # noqa: PLC0415 - lazy
    from rollout.wiring import questionable  # noqa: PLC0415 - lazy

    for line in questionable(settings):
        structlog.get_logger().warning(events.QUESTIONABLE, what=line.name, why=line.message, remedy=line.remedy)


def _leave_within(seconds: float) -> None:
    """End the process by then, whatever hangs: what was decided stands in the database, and what was done is looked at again."""
    last = threading.Timer(seconds, os._exit, (0,))
    last.daemon = True
    last.start()


def _leave_hanging_requests() -> None:
    """Do not wait for threads whose answers nobody wants any more, as the interpreter would do."""
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def demo(
    *,
    scenario: Annotated[str, typer.Option("--scenario", help="Only this one: good, bad, crash, offline, offline-fails.")] = "",
    database: Annotated[str | None, typer.Option("--database", help="Default: a SQLite file in a temporary folder.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live picture.")] = False,
) -> None:
    """Show it at work: the real daemon against a pretend cluster, time compressed. Exit 0 only if each story ended as it should."""
    from rollout.cli.demo import run  # noqa: PLC0415 - lazy

    with failures():
        if not run(scenario, database, plain=plain):
            raise typer.Exit(EXIT_FAILED)


def sandbox(
    folder: Annotated[Path, typer.Option("--folder", help="Where kubeconfig and configuration are written.")] = Path(
        "rollout-sandbox"
    ),
    speed: Annotated[float, typer.Option("--speed", min=0.0, help="How much faster than real time it runs.")] = 1.0,
) -> None:
    """Serve a pretend cluster with its backends on loopback, for you to play with (kubectl works)."""
    from rollout.cli.sandboxing import run  # noqa: PLC0415 - lazy

    with failures():
        run(folder, speed)

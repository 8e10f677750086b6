"""The daemon's HTTP port: `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rollout.core.decision import step_name
from rollout.engine.daemon import Daemon


class EngineMetrics(Collector):
    """Reads the engine's own figures when it is scraped; nothing is counted twice."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        """Give every figure."""
        engine = self._daemon.engine
        by_step: dict[str, int] = {}
        for active in engine.actives():
            name = step_name(active.state)
            by_step[name] = by_step.get(name, 0) + 1
        rollouts = GaugeMetricFamily("rollout_active_rollouts", "Rollouts that this daemon looks after, by step.", labels=["step"])
        for name, count in sorted(by_step.items()):
            rollouts.add_metric([name], count)
        yield rollouts
        lease = 1 if engine.lease.certain() else 0
        yield GaugeMetricFamily("rollout_lease_certain", "1 while this daemon's lease is unexpired.", value=lease)
        trouble = 1 if engine.saving.commits.trouble else 0
        yield GaugeMetricFamily("rollout_database_trouble", "1 while the database refuses or does not answer.", value=trouble)
        bugs = engine.bugs + engine.saving.commits.bugs
        yield CounterMetricFamily("rollout_bugs", "Unexpected errors; each is logged with its traceback.", value=bugs)
        yield CounterMetricFamily("rollout_dead_notices", "Notices that were given up.", value=self._daemon.outbox.dead)


def make_app(daemon: Daemon) -> FastAPI:
    """Build the application for one daemon."""
    app = FastAPI(title="rollout", docs_url=None, redoc_url=None, openapi_url=None)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineMetrics(daemon))

    @app.get("/healthz")
    def healthz() -> Response:
        """Say whether the looking thread lives; a database or backend that is away is no reason to restart us."""
        return Response("ok\n", 200, media_type="text/plain") if daemon.alive() else Response("not looking\n", 503)

    @app.get("/readyz")
    def readyz() -> Response:
        """Say whether rollouts can go forward now: lease held, database answering."""
        problems = daemon.problems()
        return Response("\n".join(problems or ["ready"]) + "\n", 503 if problems else 200, media_type="text/plain")

    @app.get("/metrics")
    def metrics() -> Response:
        """Give the figures in Prometheus' text format."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


class WebServer:
    """Serves the application on a thread; `port` 0 takes a free one."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(app, host=host, port=port, log_level="error", access_log=False, lifespan="off", workers=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="rollout-web", daemon=True)

    def start(self) -> None:
        """Start and wait until it listens. Raises OSError-like SystemExit inside the thread when the port is taken."""
        self._thread.start()
        waiting = threading.Event()
        while not self._server.started and self._thread.is_alive():
            waiting.wait(0.01)

    @property
    def listening(self) -> bool:
        """Say whether it serves."""
        return self._server.started and self._thread.is_alive()

    def stop(self) -> None:
        """Stop within a few seconds."""
        self._server.should_exit = True
        self._thread.join(3)

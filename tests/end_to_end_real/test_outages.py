"""What a rollout stands on goes away, hangs or lies: it holds, says so, and goes on; stepping back needs none of it."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest

from rollout.core.commands import Verb
from rollout.core.history import Outcome
from rollout.core.state import HoldKind, Soaking
from tests.end_to_end_real.liar import BROKEN, HTML, Liar
from tests.end_to_end_real.stage import CANARY, NEW, OLD, STABLE, Stage, gateway
from tests.end_to_end_real.traffic import Traffic, wait_for_samples
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql
from tests.peers.process import wait_until
from tests.peers.prometheus import Prometheus
from tests.peers.wire import Wire

pytestmark = pytest.mark.timeout(600)  # whole rollouts, on cores that are shared

MINUTE = timedelta(minutes=1)
LIES = {"proxied": (502, "text/plain", b"connection refused"), "broken": BROKEN, "html": HTML}
"""What a front of Prometheus says; the first as a proxy does whose backend is away."""


def test_the_api_server_goes_away_in_the_soak_and_in_the_promotion(stage: Stage) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan(soak="8s", promotion={"pace": "1s", "watch": "3s", "progressDeadline": "5m"}))
    stage.wait_for_step(rollout, "soaking")
    stage.cluster.stop_api_server()
    try:
        wait_until(lambda: "cannot be seen" in stage.row(rollout).why, 60, "it is said that the cluster cannot be seen")
        before, since = credited(stage, rollout), looked_at(stage, rollout)
        wait_until(lambda: looked_at(stage, rollout) - since > MINUTE, 120, "looks for a whole minute", every=0.5)
        row = stage.row(rollout)
        assert credited(stage, rollout) == before
    finally:
        stage.cluster.start_api_server()
    assert row.outcome is Outcome.ACTIVE
    assert row.step == "soaking"
    stage.wait_for_step(rollout, "promoting")
    stage.wait_for_event(rollout, "pod-updated")
    stage.cluster.restart_api_server()
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
    assert stage.images() == [NEW] * 10
    assert [write.changes.get("replicas") for write in stage.recorder.of(CANARY)] == [(0, 1), (1, 2), (2, 0)]
    stage.wait_until_told(rollout)


def test_a_database_that_hangs_does_not_hold_up_stepping_back(stage: Stage, postgresql_peer: PostgreSql) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan(soak="5m", maxSoak="30m"))
    stage.wait_for_step(rollout, "soaking")
    (pod,) = stage.pods("canary")
    postgresql_peer.pause()
    try:
        stage.cluster.behave(stage.namespace, pod["metadata"]["name"], "crash-loop")
        wait_until(lambda: stage.deployment(CANARY)["spec"]["replicas"] == 0, 60, "the canary at 0 without a database")
    finally:
        postgresql_peer.resume()
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.FAILED, row.why
    assert "crash-loops" in row.why
    assert stage.recorder.of(STABLE) == []
    stage.wait_until_told(rollout)


def test_sources_that_are_away_hung_or_lying_hold_it_and_it_goes_on(
    kubernetes_peer: KubernetesControlPlane,
    postgresql_peer: PostgreSql,
    prometheus_peer: Prometheus,
    exporter_peer: GatewayExporter,
) -> None:
    with ExitStack() as stack:
        liars = {kind: stack.enter_context(Liar(prometheus_peer.url)) for kind in LIES}
        wire = stack.enter_context(Wire(int(prometheus_peer.url.rpartition(":")[2])))
        sleeper = stack.enter_context(Prometheus([exporter_peer.target]))
        urls = {kind: liar.url for kind, liar in liars.items()} | {"away": f"http://127.0.0.1:{wire.port}", "hung": sleeper.url}
        backends = [{**gateway(url), "name": kind} for kind, url in urls.items()]
        stage = stack.enter_context(Stage(kubernetes_peer, postgresql_peer, backends=backends))
        stack.enter_context(Traffic(stage.api, exporter_peer, stage.namespace))
        for prometheus in (prometheus_peer, sleeper):
            wait_for_samples(prometheus, stage.namespace, 10)
        stage.daemon()
        signals = [{**stage.errors_at_the_gateway, "name": kind, "backend": kind} for kind in urls]
        rollout = stage.submit(stage.plan(signals=signals, soak="12s"))
        wait_until(lambda: credited(stage, rollout) > 0, 60, "the first credited second", every=0.2)
        for kind, liar in liars.items():
            liar.lie = LIES[kind]
        wire.refuse()
        sleeper.pause()
        wait_until(lambda: set(blind(stage, rollout)) == set(urls), 60, "every source is known to be blind", every=0.2)
        check_what_is_said(stage, rollout)
        prometheus_peer.restart()
        wire.mend()
        sleeper.resume()
        for liar in liars.values():
            liar.lie = None
        row = stage.wait_for_end(rollout)
        assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
        assert stage.images() == [NEW] * 10
        stage.wait_until_told(rollout)


def test_an_incident_that_the_baseline_shares_holds_and_is_not_blamed_on_the_version(busy_stage: Stage) -> None:
    stage = busy_stage
    assert stage.traffic is not None
    stage.daemon()
    rollout = stage.submit(stage.plan(signals=[stage.errors_at_the_gateway], soak="30s", maxSoak="30m"))
    wait_until(lambda: credited(stage, rollout) > 0, 60, "the first credited second", every=0.2)
    stage.traffic.errors = dict.fromkeys((OLD, NEW), 0.2)
    wait_until(lambda: "the candidate is no worse" in shared(stage, rollout), 60, "it holds for a fifth that fails", every=0.2)
    stage.traffic.errors = dict.fromkeys((OLD, NEW), 0.6)
    wait_until(lambda: "fail, on the baseline alike" in shared(stage, rollout), 60, "and for most of them", every=0.2)
    check_nothing_is_credited(stage, rollout)
    stage.traffic.errors = {}
    # Half a minute of a past says too little of how errors come: so soon after an incident a person takes what there is.
    stage.wait_for_step(rollout, "certifying")
    wait_until(lambda: held(stage, rollout, HoldKind.EVIDENCE), 60, "it asks for more evidence", every=0.2)
    stage.tell(rollout, Verb.APPROVE, "it was everybody's incident")
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
    assert stage.history(rollout, "stepping-back") == []
    assert stage.images() == [NEW] * 10
    stage.wait_until_told(rollout)


def shared(stage: Stage, rollout: str) -> str:
    """What is said while it holds because everybody suffers."""
    return held(stage, rollout, HoldKind.SHARED_INCIDENT)


def held(stage: Stage, rollout: str, kind: HoldKind) -> str:
    return "; ".join(hold.why for hold in stage.state(rollout).holds if hold.kind is kind)


def credited(stage: Stage, rollout: str) -> float:
    step = stage.state(rollout).step
    return step.credited.total_seconds() if isinstance(step, Soaking) else 0.0


def blind(stage: Stage, rollout: str) -> dict[str, str]:
    """What is said of each signal that cannot be seen."""
    return {signal.name: signal.why for signal in stage.state(rollout).signals if signal.verdict.blind}


def check_what_is_said(stage: Stage, rollout: str) -> None:
    """Held, not stepped back; nothing credited; each reason in words."""
    why = blind(stage, rollout)
    assert "refused" in why["away"]
    assert "502" in why["proxied"]
    assert "500" in why["broken"]
    assert "html" in why["html"].lower() or "JSON" in why["html"], why
    assert "answer" in why["hung"] or "time" in why["hung"], why
    check_nothing_is_credited(stage, rollout)


def check_nothing_is_credited(stage: Stage, rollout: str) -> None:
    """It stays in the soak, and looks, and no time counts."""
    row = stage.row(rollout)
    assert row.outcome is Outcome.ACTIVE
    assert row.step == "soaking"
    assert stage.images() == [OLD] * 10
    before, since = credited(stage, rollout), looked_at(stage, rollout)
    wait_until(lambda: looked_at(stage, rollout) - since > timedelta(seconds=4), 60, "looks for four more seconds", every=0.2)
    assert credited(stage, rollout) == before


def looked_at(stage: Stage, rollout: str) -> datetime:
    at = stage.state(rollout).looked_at
    assert at is not None
    return at

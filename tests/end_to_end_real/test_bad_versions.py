"""Versions that are bad in different ways: the canary is at 0, the stable untouched, and the reason is the right one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from rollout.core.history import Outcome
from tests.end_to_end_real.agents import Agents
from tests.end_to_end_real.stage import CANARY, OLD, STABLE, Stage, tracing
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.oap import OapServer
from tests.peers.postgresql import PostgreSql
from tests.peers.process import wait_until

pytestmark = pytest.mark.timeout(600)  # whole rollouts, on cores that are shared


def check_stepped_back(stage: Stage, rollout: str, kind: str, *words: str, evidence: bool = True) -> None:
    """Stable untouched, canary at 0 with its tombstone in one write, the reason with evidence, everybody told."""
    row = stage.row(rollout)
    assert row.outcome is Outcome.FAILED, row.why + stage.story(rollout)
    assert all(word in row.why for word in words), row.why
    assert stage.recorder.of(STABLE) == []
    assert stage.images() == [OLD] * stage.replicas
    stop = stage.recorder.of(CANARY)[-1]
    assert stop.changes == {"replicas": (1, 0), "rollout/stopped": (None, rollout)}
    (event,) = stage.history(rollout, "stepping-back")
    assert ("reason", kind) in event.facts
    assert any(words[0] in f"{item.signal}: {item.why}" for item in event.evidence) is evidence, event.evidence
    stage.wait_until_told(rollout)
    assert any(words[0] in text for text in stage.inbox.about(rollout))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("nginx:1.29-crash-loop", "crash-loops"),
        ("nginx:1.29-oom", "more memory than its limit"),
        ("nginx:1.29-no-pull", "cannot pull nginx:1.29-no-pull"),
    ],
)
def test_what_kubernetes_shows_takes_the_canary_to_0(stage: Stage, image: str, words: str) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan(image))
    stage.wait_for_end(rollout)
    check_stepped_back(stage, rollout, "pod-guard", words)


def test_a_version_that_is_not_ready_in_time_takes_the_canary_to_0(stage: Stage) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan("nginx:1.29-slow", startDeadline="3s"))
    stage.wait_for_end(rollout)
    words = ("0 of 1 pods ready after 3 s; nginx-canary-", " on node-", "not ready: see its readiness probe")
    check_stepped_back(stage, rollout, "start-deadline", *words, evidence=False)


GROSS = {"-errs": 0.6}
"""More than half: a hard guard acts on the first window."""
GREY = {"-errs": 0.05, OLD: 0.01}
"""From 1 % to 5 %: no guard sees it, only the test of the counts does."""


def check_evidence(why: str, errors: Mapping[str, float]) -> None:
    """The counts that are told are those that were made: what no guard catches (under a half) was found by the evidence alone."""
    told = re.search(r"(\d+) of (\d+) requests failed", why)
    assert told is not None, why
    assert errors is GROSS or " E = " in why, why
    failed, requests = map(int, told.groups())
    assert requests >= 20
    assert failed / requests == pytest.approx(errors["-errs"], rel=0.25), why


@pytest.mark.parametrize("errors", [GROSS, GREY], ids=["gross", "grey"])
def test_errors_that_only_prometheus_shows_take_the_canary_to_0(busy_stage: Stage, errors: Mapping[str, float]) -> None:
    stage = busy_stage
    assert stage.traffic is not None
    stage.traffic.errors = errors
    stage.daemon()
    long = {"soak": "5m", "maxSoak": "30m", "replicas": {"max": 1, "every": "2s"}}
    rollout = stage.submit(stage.plan("nginx:1.29-errs", signals=[stage.errors_at_the_gateway], **long))
    row = stage.wait_for_end(rollout, 300)
    check_stepped_back(stage, rollout, "signal", "apisix-5xx")
    check_evidence(row.why, errors)


def test_errors_that_only_traces_show_take_the_canary_to_0(
    kubernetes_peer: KubernetesControlPlane, postgresql_peer: PostgreSql, oap_peer: OapServer
) -> None:
    """Both kinds at once, side by side, because SkyWalking takes minutes."""
    with ExitStack() as stack:
        started = []
        for errors in (GROSS, GREY):
            stage = stack.enter_context(Stage(kubernetes_peer, postgresql_peer, backends=[tracing(oap_peer.url)]))
            agents = stack.enter_context(Agents(stage.api, oap_peer, stage.namespace))
            agents.errors = errors
            stage.daemon()
            started.append((stage, agents, errors))
        rollouts = []
        for stage, agents, _ in started:
            wait_until(lambda a=agents: a.known(10), 120, "a whole minute of every pod in OAP", every=0.5)  # type: ignore[misc]  # bound now
            long = {"soak": "10m", "maxSoak": "30m", "replicas": {"max": 1, "every": "2s"}}
            rollouts.append(stage.submit(stage.plan("nginx:1.29-errs", signals=[stage.errors_in_traces()], **long)))
        for (stage, _, errors), rollout in zip(started, rollouts, strict=True):
            row = stage.wait_for_end(rollout, 420)
            check_stepped_back(stage, rollout, "signal", "skywalking-traces")
            check_evidence(row.why, errors)


def test_trouble_in_the_middle_of_promotion_puts_every_pod_back(stage: Stage) -> None:
    stage.daemon()
    rollout = stage.submit(stage.plan(promotion={"pace": "3s", "watch": "3s", "progressDeadline": "5m"}))
    stage.wait_for_step(rollout, "promoting")
    stage.wait_for_event(rollout, "pod-updated")
    victim = next(pod for pod in stage.pods("release") if pod["spec"]["containers"][0]["image"] != OLD)
    stage.cluster.behave(stage.namespace, victim["metadata"]["name"], "crash-loop")
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.FAILED
    assert victim["metadata"]["name"] in row.why, row.why
    assert stage.images() == [OLD] * 10
    stable = stage.deployment(STABLE)
    assert stable["spec"].get("minReadySeconds", 0) == 0
    assert not stable["spec"].get("paused")
    assert stable["status"]["availableReplicas"] == 10
    assert stage.deployment(CANARY)["spec"]["replicas"] == 0
    back = stage.recorder.of(STABLE)[-1]
    assert back.changes["image"] == ("nginx:1.28.0", OLD)
    assert back.new("rollout/stopped") == rollout
    stage.wait_until_told(rollout)

"""Daemons are killed, at any moment, alone or in pairs; the rollout ends as it would have."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest

from rollout.core.history import Outcome
from tests.end_to_end_real.stage import CANARY, NEW, OLD, STABLE, Daemon, Stage
from tests.peers.process import wait_until

pytestmark = pytest.mark.timeout(600)  # whole rollouts, on cores that are shared

KILLS = 10
SEED = 20261122


def check_every_write_was_made_once(stage: Stage, rollout: str, old: str = OLD, new: str = NEW, before: str | None = None) -> None:
    """The writes of the last rollout; `before` is the one that went ahead of it here."""
    grown = [write.changes.get("replicas") for write in stage.recorder.of(CANARY)[-3:]]
    assert grown == [(0, 1), (1, 2), (2, 0)]
    promote, restore = stage.recorder.of(STABLE)[-2:]
    assert promote.changes == {"image": (old, new), "minReadySeconds": (None, 1), "rollout/id": (before, rollout)}
    assert restore.changes == {"minReadySeconds": (1, None)}


def killed_until_its_end(stage: Stage, daemon: Daemon, rollout: str, moments: Sequence[float]) -> int:
    """Kill the daemon and start it again, after so many seconds each; how often there was still something to disturb."""
    pause = threading.Event()
    for kills, moment in enumerate(moments):
        pause.wait(moment)  # the moment is what is random here, there is no condition
        if stage.row(rollout).outcome.at_rest:
            return kills
        daemon.kill()
        daemon.begin()
    return len(moments)


def test_ten_kills_at_random_moments_change_nothing_but_the_time(stage: Stage) -> None:
    """As many rollouts, there and back again, as ten kills in the middle of one take."""
    chosen = random.Random(SEED)
    moments = [chosen.uniform(0.1, 4.0) for _ in range(KILLS)]
    daemon, images = stage.daemon(), (OLD, NEW)
    rollouts: list[str | None] = [None]
    while moments:
        old, new = images
        rollout = stage.submit(stage.plan(new, soak="12s", description=f"round {len(rollouts)}"))
        moments = moments[killed_until_its_end(stage, daemon, rollout, moments) :]
        row = stage.wait_for_end(rollout)
        assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
        assert stage.images() == [new] * 10
        check_every_write_was_made_once(stage, rollout, old, new, rollouts[-1])
        stage.wait_until_told(rollout)
        kinds = [event.kind for event in stage.history(rollout)]
        assert [kinds.count(kind) for kind in ("started", "promoting", "promoted", "succeeded")] == [1, 1, 1, 1]
        rollouts.append(rollout)
        images = (new, old)
    assert [len(stage.recorder.of(name)) for name in (CANARY, STABLE)] == [3 * (len(rollouts) - 1), 2 * (len(rollouts) - 1)]


def test_a_version_that_crashes_while_no_daemon_lives_is_stepped_back_when_one_comes(stage: Stage) -> None:
    daemon = stage.daemon()
    rollout = stage.submit(stage.plan(soak="5m", maxSoak="30m"))
    stage.wait_for_step(rollout, "soaking")
    daemon.kill()
    (pod,) = stage.pods("canary")
    stage.cluster.behave(stage.namespace, pod["metadata"]["name"], "crash-loop")
    daemon.begin()
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.FAILED
    assert "crash-loops" in row.why
    assert stage.deployment(CANARY)["spec"]["replicas"] == 0
    assert stage.recorder.of(STABLE) == []
    stage.wait_until_told(rollout)


def test_of_two_daemons_one_is_killed_and_the_other_ends_the_rollout(stage: Stage) -> None:
    daemons = [stage.daemon(), stage.daemon()]
    rollout = stage.submit(stage.plan())
    stage.wait_for_step(rollout, "soaking")
    stage.wait_until_told(rollout)  # a post whose answer dies with the daemon is made again: not what is looked at here
    owner = stage.owner(rollout)
    victim = next(daemon for daemon in daemons if owner.endswith(f"-{daemon.pid}"))
    victim.kill()
    wait_until(lambda: stage.owner(rollout) not in {"", owner}, 60, "the other daemon has taken it", every=0.2)
    row = stage.wait_for_end(rollout)
    assert row.outcome is Outcome.SUCCEEDED, row.why + stage.story(rollout)
    check_every_write_was_made_once(stage, rollout)
    stage.wait_until_told(rollout)
    assert len(stage.inbox.messages) == len(stage.parts.store.notices(rollout))

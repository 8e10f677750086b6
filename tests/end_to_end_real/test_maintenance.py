"""Offline upgrades on a real control plane: real Deployments, real Jobs, the account of config/kubernetes/rbac.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.core.commands import Verb
from rollout.core.history import Outcome
from tests.end_to_end_real.maintenance import ARTIFACT, Maintenance
from tests.end_to_end_real.stage import NEW, OLD
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.postgresql import PostgreSql

pytestmark = pytest.mark.timeout(300)  # whole rollouts, on cores that are shared


@pytest.fixture
def shop(kubernetes_peer: KubernetesControlPlane, postgresql_peer: PostgreSql) -> Iterator[Maintenance]:
    with Maintenance(kubernetes_peer, postgresql_peer) as made:
        made.stage.daemon()
        yield made


def check_the_end(shop: Maintenance, rollout: str, outcome: Outcome, image: str) -> None:
    stage = shop.stage
    row = stage.wait_for_end(rollout, 150)
    assert row.outcome is outcome, row.why + stage.story(rollout)
    assert stage.images() == [image] * 3
    assert "plugins" not in shop.admin("GET", "routes/shop") or shop.admin("GET", "routes/shop")["plugins"] == {}
    assert shop.outside
    assert shop.served_while_closed(rollout) == []
    stage.wait_until_told(rollout)
    writes = stage.recorder.of("nginx")
    assert writes[0].changes["replicas"] == (3, 0)
    assert stage.recorder.of("nginx", ours=False) == []


def test_a_good_upgrade_with_real_jobs(shop: Maintenance) -> None:
    rollout = shop.submit()
    check_the_end(shop, rollout, Outcome.SUCCEEDED, NEW)
    names = [name.rsplit("-", 1)[0] for name in shop.job_names(rollout)]
    assert sorted(names) == ["backup", "migrate", "sessions", "test-new1-1"]
    assert all(job["status"]["succeeded"] == 1 for job in shop.jobs())
    backup = dict(shop.stage.history(rollout, "backed-up")[0].facts)
    assert backup["artifact"] == ARTIFACT["id"]
    assert (backup["size"], backup["sha256"], backup["exit_code"]) == ("4096", ARTIFACT["sha256"], "0")
    assert "backing up" in backup["log"]
    passed = [dict(event.facts) for event in shop.stage.history(rollout, "test-passed")]
    assert [facts["test"] for facts in passed] == [f"answers as {NEW}", "smoke"]
    assert shop.stage.inbox.about("open again")


def test_a_critical_test_that_fails_leads_back_to_the_old_version_and_its_database(shop: Maintenance) -> None:
    rollout = shop.submit(tests=[shop.answers(OLD)], onFailure="rollback")
    check_the_end(shop, rollout, Outcome.FAILED, OLD)
    assert [name for name in shop.job_names(rollout) if "sessions" not in name] == ["backup-1", "migrate-1", "restore-1"]
    restore = next(job for job in shop.jobs() if job["metadata"]["name"].endswith("restore-1"))
    environment = {item["name"]: item["value"] for item in restore["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (environment["ARTIFACT"], environment["ARTIFACT_SHA256"]) == (ARTIFACT["id"], ARTIFACT["sha256"])
    order = [event.kind for event in shop.stage.history(rollout)]
    back = ["stepping-back", "back-halt", "back-restore", "back-start", "gate-opened", "failed"]
    assert [kind for kind in order if kind in back] == back


@pytest.mark.parametrize(
    ("broken", "words"),
    [({"image": "backup:1-no-pull"}, "ImagePull"), ({"image": "backup:1", "pod": {"nodeSelector": {"disk": "none"}}}, "scheduled")],
    ids=["no-image", "no-node"],
)
def test_a_job_that_cannot_start_is_told_within_a_minute(shop: Maintenance, broken: dict[str, Any], words: str) -> None:
    rollout = shop.submit(backup=shop.job(**broken), tests=[{"name": "smoke", "job": shop.job("smoke:1")}])
    stage = shop.stage

    def told() -> list[dict[str, Any]]:
        return [dict(n) for n in stage.parts.store.notices(rollout) if "cannot start" in str(n["why"])]

    stage._wait(rollout, told, 90, "the trouble is told")
    notice = told()[0]
    job = next(job for job in shop.jobs() if job["metadata"]["name"].endswith("backup-1"))
    made = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    assert words in str(notice["why"]), notice["why"]
    assert notice["at"] - made < timedelta(seconds=60)
    stage.tell(rollout, Verb.ABORT)
    row = stage.wait_for_end(rollout, 120)
    assert row.outcome is Outcome.ABORTED, stage.story(rollout)
    assert stage.images() == [OLD] * 3

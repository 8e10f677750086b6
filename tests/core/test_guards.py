"""What Kubernetes itself shows of the candidate's pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rollout.core.cohorts import Cohorts, Pod
from rollout.core.guards import PodFindings, grace_left, watch
from rollout.core.state import GuardMemory
from tests.core.scenes import NOW, OLD, H, M, S, container, pod, stable_pods

NOTHING = GuardMemory()


def found(*mine: Pod, theirs: tuple[Pod, ...] | None = None, memory: GuardMemory = NOTHING, at: datetime = NOW) -> PodFindings:
    return watch(memory, Cohorts(mine, stable_pods() if theirs is None else theirs), "nginx", at)


def bad(**changed: Any) -> Pod:  # noqa: ANN401 - any field of the container
    return pod(ready=False, seen=container(ready=False, **changed))


def causes(findings: PodFindings) -> list[str]:
    return [trip.cause for trip in findings.failing]


def test_a_healthy_pod_trips_nothing() -> None:
    findings = found(pod())
    assert (findings.failing, findings.shared, findings.displaced, findings.restarted) == ((), (), (), ())


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"waiting": "CrashLoopBackOff", "restarts": 1}, "CrashLoopBackOff"),
        ({"terminated": "OOMKilled"}, "OOMKilled"),
        ({"waiting": "ImagePullBackOff", "image_id": ""}, "pull"),
        ({"waiting": "CreateContainerConfigError", "image_id": ""}, "CreateContainerConfigError"),
        ({"restarts": 2}, "restarts"),
    ],
)
def test_trouble_fails_at_once(changed: dict[str, Any], cause: str) -> None:
    assert causes(found(bad(**changed))) == [cause]


def test_one_restart_holds_and_the_second_fails() -> None:
    once = pod(seen=container(restarts=1, terminated="Error", terminated_at=NOW - M))
    assert causes(found(once)) == []
    assert found(once).restarted
    assert causes(found(pod(seen=container(restarts=2)))) == ["restarts"]


def test_lost_readiness_fails_after_its_grace_and_not_before() -> None:
    memory = found(pod(), at=NOW).memory
    lost = pod(ready=False)
    memory = found(lost, memory=memory, at=NOW + S).memory
    assert causes(found(lost, memory=memory, at=NOW + M)) == []
    assert causes(found(lost, memory=memory, at=NOW + 2 * M + S)) == ["unready"]


def test_a_pod_that_was_never_ready_has_lost_nothing() -> None:
    memory = found(pod(ready=False)).memory
    assert causes(found(pod(ready=False), memory=memory, at=NOW + H)) == []


def test_the_cluster_shows_a_loss_of_readiness_that_began_before_we_looked() -> None:
    lost = pod(ready=False, lost_readiness=True)
    memory = found(lost, at=NOW).memory
    assert causes(found(lost, memory=memory, at=NOW + M)) == []
    assert causes(found(lost, memory=memory, at=NOW + 2 * M)) == ["unready"]


def test_readiness_that_comes_back_begins_the_grace_anew() -> None:
    memory = found(pod()).memory
    for at, ready in ((NOW + S, False), (NOW + M, True), (NOW + 2 * M, False)):
        memory = found(pod(ready=ready), memory=memory, at=at).memory
    assert causes(found(pod(ready=False), memory=memory, at=NOW + 3 * M)) == []


def test_it_is_looked_at_again_when_the_grace_of_lost_readiness_ends() -> None:
    memory = found(pod(), at=NOW).memory
    assert grace_left(memory, NOW) is None
    memory = found(pod(ready=False), memory=memory, at=NOW + S).memory
    assert grace_left(memory, NOW + 31 * S) == 90 * S
    assert grace_left(memory, NOW + H) is None


def test_a_clock_that_goes_back_grants_no_hour_of_grace() -> None:
    memory = found(pod(), at=NOW).memory
    memory = found(pod(ready=False), memory=memory, at=NOW + S).memory
    memory = found(pod(ready=False), memory=memory, at=NOW - H).memory
    assert causes(found(pod(ready=False), memory=memory, at=NOW - H + 2 * M)) == ["unready"]


@pytest.mark.parametrize("why", ["Evicted", "Preempted", "NodeLost"])
def test_a_pod_that_was_taken_away_is_displaced_and_not_failed(why: str) -> None:
    gone = pod(ready=False, displaced=why, seen=container(ready=False, terminated="OOMKilled"))
    findings = found(gone)
    assert causes(findings) == []
    assert [trip.cause for trip in findings.displaced] == ["displaced"]


def test_a_displaced_pod_is_told_once() -> None:
    gone = pod(ready=False, displaced="Evicted")
    first = found(gone)
    assert len(first.newly_displaced) == 1
    assert found(gone, memory=first.memory, at=NOW + M).newly_displaced == ()


def test_a_pull_that_fails_where_the_image_has_run_before_is_displaced() -> None:
    findings = found(pod("a"), pod("b", ready=False, seen=container(waiting="ErrImagePull", image_id="", ready=False)))
    assert causes(findings) == []
    assert [trip.cause for trip in findings.displaced] == ["pull-again"]


def test_what_the_baseline_suffers_equally_holds() -> None:
    theirs = stable_pods(4, ready=False, seen=container(image=OLD, ready=False, terminated="OOMKilled", terminated_at=NOW - M))
    findings = found(bad(terminated="OOMKilled", terminated_at=NOW - M), theirs=theirs)
    assert causes(findings) == []
    assert [trip.cause for trip in findings.shared] == ["OOMKilled"]


def test_one_bad_pod_of_ten_in_the_baseline_excuses_nothing() -> None:
    theirs = (*stable_pods(9), pod("x", deployment="nginx", ready=False, seen=container(image=OLD, terminated="OOMKilled")))
    assert causes(found(bad(terminated="OOMKilled"), theirs=theirs)) == ["OOMKilled"]


def test_an_old_kill_in_the_baseline_excuses_nothing() -> None:
    theirs = stable_pods(4, seen=container(image=OLD, terminated="OOMKilled", terminated_at=NOW - 3 * H))
    assert causes(found(bad(terminated="OOMKilled"), theirs=theirs)) == ["OOMKilled"]


def test_a_baseline_without_pods_excuses_nothing() -> None:
    assert causes(found(bad(waiting="CrashLoopBackOff"), theirs=())) == ["CrashLoopBackOff"]


def _killed(at: datetime, **changed: Any) -> Any:  # noqa: ANN401 - a container
    return container(**{"terminated": "OOMKilled", "terminated_at": at, "restarts": 1, **changed})


def test_a_kill_that_the_baseline_suffered_alike_is_not_blamed_on_the_candidate_hours_later() -> None:
    theirs = stable_pods(4, seen=_killed(NOW - M, image=OLD))
    first = found(pod(seen=_killed(NOW - M)), theirs=theirs)
    assert [trip.cause for trip in first.shared] == ["OOMKilled"]
    # The baseline's pods are replaced since; the kubelet still shows the candidate's last termination.
    later = found(pod(seen=_killed(NOW - M)), theirs=stable_pods(4), memory=first.memory, at=NOW + 3 * H)
    assert (causes(later), later.shared) == ([], ())
    soon = found(pod(seen=_killed(NOW - M)), theirs=stable_pods(4), memory=first.memory, at=NOW + 5 * M)
    assert (causes(soon), len(soon.shared)) == ([], 1)
    again = found(pod(seen=_killed(NOW + 2 * H, restarts=2)), theirs=stable_pods(4), memory=first.memory, at=NOW + 3 * H)
    assert causes(again) == ["OOMKilled"]


def test_a_kill_of_hours_ago_that_nobody_saw_and_the_baseline_did_not_share_fails() -> None:
    assert causes(found(pod(seen=_killed(NOW - 3 * H)), theirs=stable_pods(4, seen=_killed(NOW - M, image=OLD)))) == ["OOMKilled"]


def test_a_sidecar_that_crash_loops_on_both_is_nobodys_fault() -> None:
    sidecar = container(name="mesh", ready=False, waiting="CrashLoopBackOff", restarts=4)
    mine = pod(ready=False, containers=(container(), sidecar))
    theirs = tuple(pod(f"nginx-{n}", deployment="nginx", ready=False, containers=(container(image=OLD), sidecar)) for n in range(4))
    findings = found(mine, theirs=theirs)
    assert (causes(findings), [trip.cause for trip in findings.shared]) == ([], ["CrashLoopBackOff"])
    assert causes(found(mine, theirs=stable_pods(4))) == ["CrashLoopBackOff"]

"""The plan's tests, hooks and Jobs as they are performed: HTTP and commands really, Jobs on a small pretend cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.adapters.clock import SystemClock
from rollout.adapters.credentials import HttpCredentials
from rollout.adapters.work import HttpRequests, LocalCommands
from rollout.core.cohorts import TargetView
from rollout.core.decision import Execution
from rollout.core.errors import Refused, Rejected, RolloutError, Unavailable
from rollout.core.machine import begin
from rollout.core.observation import Task, TaskResult
from rollout.core.state import State
from rollout.core.state_offline import Backup, OfflineMemory
from rollout.core.steps.offline_jobs import halt_task, work_job
from rollout.core.target import Target
from rollout.engine.offline_work import TAIL, WorkTasks, job_name
from rollout.ports import Cluster
from rollout.ports_offline import JobPhase, JobSeen
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.world import World
from tests.adapters.stub import Say, closed_port, stub
from tests.contract.sandbox_builders import deployment
from tests.core.test_offline import JOB, plan
from tests.simulation.pretend import WorldCluster

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SUM = "ab" * 32


class PretendJobs:
    """Jobs by name; `shows` is what the next look at each of them brings."""

    def __init__(self) -> None:
        self.made: list[Mapping[str, Any]] = []
        self.shows: list[JobSeen | RolloutError] = []

    def ensure(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        self.made.append(manifest)

    def look(self, namespace: str, name: str) -> JobSeen | None:
        if not any(made["metadata"]["name"] == name for made in self.made):
            return None
        shown = self.shows.pop(0)
        if isinstance(shown, RolloutError):
            raise shown
        return shown

    def halt(self, namespace: str, manifest: Mapping[str, Any]) -> JobSeen:
        self.made.append(manifest)
        seen = self.look(namespace, manifest["metadata"]["name"])
        assert seen is not None
        return seen

    def may_create(self, namespace: str) -> str:
        return ""

    def unseen_ways(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_addresses(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_names(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()


class Desk:
    """A plan, and who performs its work."""

    def __init__(self, credentials: HttpCredentials | None = None, *, cluster: Cluster | None = None, **spec: Any) -> None:  # noqa: ANN401 - the plan's own values
        self.jobs = PretendJobs()
        self.execution = Execution("orders-3-0-1a2b3c4d", plan(**spec), ())
        self.state: State = begin(self.execution, NOW)
        clock = SystemClock()
        clusters = {"default": cluster} if cluster is not None else {}
        self.work = WorkTasks(
            {"default": self.jobs}, self._template, HttpRequests(clock), LocalCommands(clock), clock, credentials, clusters=clusters
        )

    def _template(self, name: str) -> Mapping[str, Any]:
        raise Refused(f"there is no Job template {name!r}")

    def test(self, index: int = 0) -> TaskResult:
        arguments = (("attempt", "1"), ("index", str(index)), ("list", "tests"), ("mark", "new1"))
        return self.work.work(self.execution, self.state, Task("test", "work", arguments))

    def job(self, name: str, *shows: JobSeen | Unavailable, attempt: str = "1") -> TaskResult:
        self.jobs.shows = list(shows)
        return self.work.job(self.execution, self.state, Task(f"job-{name}", "job", (("attempt", attempt), ("job", name))))


def http(url: str, **more: Any) -> Desk:  # noqa: ANN401 - the plan's own values
    return Desk(tests=[{"name": "health", "http": {"url": url, **more}, "timeout": "1s"}])


def command(*words: str) -> Desk:
    return Desk(tests=[{"name": "check", "command": list(words), "timeout": "2s"}])


# -- HTTP test cases ---------------------------------------------------------------------------------------------------------


def test_an_expected_status_and_text_pass() -> None:
    with stub(Say(202, '{"status":"UP"}')) as server:
        result = http(f"{server.url}/health?key=hunter2", status=[200, 202], contains='"UP"').test()
    assert (result.state, result.ok) == ("done", True)
    assert result.facts["code"] == "202"
    assert result.facts["output"] == '{"status":"UP"}'
    assert "hunter2" not in result.why


def test_another_status_fails_and_says_what_was_expected() -> None:
    with stub(Say(500, "java.lang.NullPointerException")) as server:
        result = http(server.url + "/", status=[200, 204]).test()
    assert not result.ok
    assert result.why.endswith("HTTP 500, expected 200 or 204")
    assert "NullPointer" in result.facts["output"]


def test_a_good_status_with_another_body_fails() -> None:
    with stub(Say(200, "<html>please sign in</html>", content_type="text/html")) as server:
        result = http(server.url, contains='"UP"').test()
    assert not result.ok
    assert "does not hold" in result.why


def test_of_a_huge_body_history_keeps_the_end() -> None:
    with stub(Say(200, "x" * 100_000 + "end")) as server:
        result = http(server.url, contains="xend").test()
    assert result.ok
    assert len(result.facts["output"]) == TAIL


@pytest.mark.parametrize("say", [Say(hang=True), Say(body="x" * 100, cut_at=3)], ids=["hangs", "cut"])
def test_a_server_that_gives_no_whole_answer_fails_the_attempt(say: Say) -> None:
    with stub(say) as server:
        result = http(server.url).test()
    assert (result.state, result.ok) == ("done", False)


def test_a_server_that_is_away_fails_the_attempt() -> None:
    result = http(f"http://127.0.0.1:{closed_port()}/").test()
    assert (result.state, result.ok) == ("done", False)
    assert "connection refused" in result.why


# -- command test cases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False), (77, False)])
def test_a_commands_exit_code_is_its_verdict(code: int, ok: bool) -> None:  # noqa: FBT001 - an example's value
    result = command("/bin/sh", "-c", f"echo looked; exit {code}").test()
    assert (result.ok, result.facts["code"], result.facts["output"]) == (ok, str(code), "looked\n")


def test_a_command_is_told_what_it_tests() -> None:
    result = command("/bin/sh", "-c", "echo $ROLLOUT_ID $ROLLOUT_IMAGE $ROLLOUT_TARGET").test()
    assert result.facts["output"] == "orders-3-0-1a2b3c4d orders:2.0 shop/orders\n"


def test_a_command_that_does_not_end_fails_the_attempt() -> None:
    result = command(sys.executable, "-c", "import time; time.sleep(600)").test()
    assert (result.state, result.ok) == ("done", False)
    assert "did not end within 2 s" in result.why


def test_a_command_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be started"):
        command("/no/such/check").test()


# -- Jobs --------------------------------------------------------------------------------------------------------------------

DONE = JobSeen(JobPhase.SUCCEEDED, "", NOW, NOW + timedelta(seconds=90), 0)


def test_a_backups_artifact_time_and_log_are_kept() -> None:
    line = f'rollout-artifact: {{"id": "a.dump", "size": 7, "sha256": "{SUM}"}}\n'
    result = Desk().job("backup", replace(DONE, log="dumping\n" + line))
    facts = dict(result.facts)
    assert (facts["artifact"], facts["size"], facts["sha256"], facts["seconds"], facts["exit_code"]) == (
        "a.dump",
        "7",
        SUM,
        "90",
        "0",
    )
    assert "dumping" in facts["log"]


def test_a_backup_that_prints_nonsense_has_no_artifact() -> None:
    result = Desk().job("backup", replace(DONE, log='rollout-artifact: {"id": "a", "size": "much"}\n\x00\ufffd'))
    assert result.ok
    assert "artifact" not in result.facts


def test_a_job_that_runs_is_no_answer_yet_and_its_trouble_is_told() -> None:
    desk = Desk()
    assert desk.job("backup", JobSeen(JobPhase.RUNNING, "", NOW)).state == "unavailable"
    stuck = desk.job("backup", JobSeen(JobPhase.RUNNING, "x", NOW, trouble="pod-1: ImagePullBackOff"))
    assert stuck.facts["trouble"] == "pod-1: ImagePullBackOff"
    assert len(desk.jobs.made) == 1


def test_a_cluster_that_is_away_is_no_verdict_about_the_job() -> None:
    with pytest.raises(Unavailable):
        Desk().job("backup", Unavailable("default", "is away"))


def test_a_job_that_ends_well_with_failed_cases_has_failed() -> None:
    log = '<testsuite><testcase name="pays"><failure message="402"/></testcase><testcase name="lists"/></testsuite>'
    desk = Desk(tests=[{"name": "suite", "job": {"manifest": JOB, "deadline": "1m"}}])
    desk.jobs.shows = [replace(DONE, log=log)]
    result = desk.test()
    assert not result.ok
    assert "1 of 2 cases failed: pays" in result.why
    assert [(line.name, line.level, line.message) for line in result.lines] == [("pays", "failed", "402"), ("lists", "ok", "")]


@pytest.mark.parametrize(
    ("log", "sessions"),
    [("app from 10.0.0.1\n3\n", "3"), ("0", "0"), ("count\n-----\n     2\n", "2"), ("nobody knows", None), ("", None)],
)
def test_foreign_sessions_are_the_last_number_that_was_printed(log: str, sessions: str | None) -> None:
    desk = Desk(quiesce={"sessions": {"manifest": JOB}})
    assert desk.job("sessions", replace(DONE, log=log)).facts.get("sessions") == sessions


def test_a_restore_is_told_which_artifact_and_nobody_else_is() -> None:
    desk = Desk()
    desk.state = replace(desk.state, offline=OfflineMemory(backup=Backup("a.dump", 7, SUM, NOW)))
    for name in ("restore", "migrate"):
        desk.job(name, DONE)
    told = [
        {item["name"]: item["value"] for item in made["spec"]["template"]["spec"]["containers"][0]["env"]}
        for made in desk.jobs.made
    ]
    assert (told[0]["ARTIFACT"], told[0]["ARTIFACT_SHA256"]) == ("a.dump", SUM)
    assert "ARTIFACT" not in told[1]
    assert told[1]["ROLLOUT_ID"] == "orders-3-0-1a2b3c4d"


def test_a_job_is_named_so_that_the_same_is_the_same_and_another_is_another() -> None:
    desk = Desk(tests=[{"name": f"t{n}", "job": {"manifest": JOB, "deadline": "1m"}} for n in range(12)], window={
        "startAt": "2026-11-22 09:00", "timezone": "UTC", "duration": "20h"})  # fmt: skip
    names = set()
    for course in range(1, 13):
        for index in range(12):
            arguments = (("attempt", "1"), ("index", str(index)), ("list", "tests"), ("mark", f"new{course}"))
            desk.jobs.shows = [DONE]
            desk.work.work(desk.execution, desk.state, Task("test", "work", arguments))
            names.add(desk.jobs.made[-1]["metadata"]["name"])
    assert len(names) == 12 * 12
    assert max(map(len, names)) <= 63


def test_a_jobs_name_fits_into_a_label_however_long_the_rollouts_is() -> None:
    assert len(job_name(f"{'very-long.' * 20}name-1a2b3c4d", "hook-1764108000-49", "21")) <= 63


def test_the_cluster_ends_a_job_at_its_deadline_and_never_runs_it_twice() -> None:
    cleared = {**JOB, "spec": {**JOB["spec"], "ttlSecondsAfterFinished": 60}}  # type: ignore[dict-item]
    desk = Desk(backup={"manifest": cleared, "deadline": "10m"})
    desk.job("backup", DONE)
    spec = desk.jobs.made[0]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 600)
    assert "ttlSecondsAfterFinished" not in spec, "cleared away, it would be made and run again by a daemon that starts then"


def test_the_job_of_a_test_is_halted_under_the_name_that_it_ran_under() -> None:
    desk = Desk(tests=[{"name": "smoke", "job": {"manifest": JOB, "deadline": "10m"}}])
    desk.jobs.shows = [JobSeen(JobPhase.RUNNING, "", NOW), JobSeen(JobPhase.HALTED, "suspended", NOW)]
    desk.test()
    key = halt_task(work_job("tests", "new1", 0), 1)
    result = desk.work.halt(desk.execution, desk.state, key)
    assert (result.state, result.ok) == ("done", True)
    names = [made["metadata"]["name"] for made in desk.jobs.made]
    assert len(names) == 2
    assert len(set(names)) == 1


@pytest.mark.parametrize("works", ["hooks", "undo"])
def test_the_job_of_a_hook_is_halted_too(works: str) -> None:
    desk = Desk(quiesce={works: [{"name": "queue", "job": {"manifest": JOB, "deadline": "10m"}}]})
    desk.jobs.shows = [JobSeen(JobPhase.HALTED, "suspended", NOW)]
    assert desk.work.halt(desk.execution, desk.state, halt_task(work_job(works, "1795", 0), 1)).ok


def test_a_job_runs_once_whatever_its_manifest_says_about_trying_again() -> None:
    pod = {"restartPolicy": "OnFailure", "containers": [{"name": "a", "image": "b"}]}
    again = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 6, "template": {"spec": pod}}}
    desk = Desk(migrate={"manifest": again})
    desk.job("migrate", JobSeen(JobPhase.RUNNING, "", NOW))
    (made,) = desk.jobs.made
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "b"


def test_a_job_that_was_seen_and_is_gone_is_not_made_again() -> None:
    desk = Desk()
    known = Task("job-migrate-1", "job", (("attempt", "1"), ("job", "migrate"), ("known", "yes")))
    result = desk.work.job(desk.execution, desk.state, known)
    assert (result.state, result.ok) == ("done", False)
    assert "was taken away by somebody" in result.why
    assert desk.jobs.made == []


def test_a_job_that_runs_says_that_it_is_there() -> None:
    desk = Desk()
    assert desk.job("migrate", JobSeen(JobPhase.RUNNING)).facts == {"job": "orders-3-0-1a2b3c4d-migrate-1"}


def test_a_job_that_may_not_be_brought_to_rest_is_asked_again_when_that_is_mended() -> None:
    desk = Desk()
    desk.jobs.shows = [Rejected("kubernetes test", "403: our account may not patch jobs", code=403)]
    result = desk.work.halt(desk.execution, desk.state, halt_task("migrate", 1))
    assert (result.state, result.ok) == ("unavailable", False), "an answer would never be asked for again"
    assert "403" in result.why


def test_the_many_jobs_that_only_count_sessions_are_cleared_away_by_the_cluster() -> None:
    desk = Desk(quiesce={"sessions": {"manifest": JOB}})
    desk.job("sessions", JobSeen(JobPhase.RUNNING, "", NOW))
    (made,) = desk.jobs.made
    assert made["spec"]["ttlSecondsAfterFinished"] == 3600


@pytest.mark.parametrize("name", ["backup", "migrate", "restore"])
def test_no_job_that_must_be_alone_is_started_beside_a_pod_that_the_watches_do_not_show(name: str) -> None:
    """A Deployment at 0 whose last pod takes a minute to end: it writes until then."""
    world = World(NOW, 0)
    world.behaviours["orders:1"] = Behaviour(stop_after=timedelta(minutes=1))
    world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    world.create(deployment("orders", 1, "orders:1"))
    world.advance_by(timedelta(minutes=5))
    cluster = WorldCluster(world)
    desk = Desk(cluster=cluster)
    assert "orders has 1 replica" in desk.job(name).why
    world.scale("shop", "orders", 0)
    world.advance_by(timedelta(seconds=20))
    waits = desk.job(name)
    assert (waits.state, desk.jobs.made) == ("unavailable", [])
    assert "is not gone yet" in waits.why
    world.advance_by(timedelta(minutes=2))
    desk.job(name, JobSeen(JobPhase.RUNNING))
    assert len(desk.jobs.made) == 1


class Forbidden(WorldCluster):
    """A cluster whose pods we may not look at."""

    def look(self, target: Target, *, timeout: timedelta) -> TargetView:
        raise Rejected("default", "the account may not list pods", code=403)


def test_a_job_that_must_be_alone_has_not_failed_where_nobody_may_ask_who_still_runs() -> None:
    desk = Desk(cluster=Forbidden(World(NOW, 0)))
    waits = desk.job("restore")
    assert (waits.state, desk.jobs.made) == ("unavailable", [])
    assert "is not started: who still runs cannot be asked" in waits.why
    assert "may not list pods" in waits.why

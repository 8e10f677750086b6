"""Performs the work of an offline plan: Jobs looked at until they have ended, HTTP requests, commands; hooks and tests alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from rollout.core.decision import Execution
from rollout.core.errors import Refused, Rejected, Unavailable
from rollout.core.job_template import ROLLOUT_ID, Artifact, artifact_in, rendered
from rollout.core.junit import cases_in
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.offline_facts import memory_of, plan_in, writers
from rollout.core.plan_offline import OfflineSpec
from rollout.core.plan_work import HttpRequest, Job, Work
from rollout.core.state import State
from rollout.core.steps.offline_jobs import work_job
from rollout.core.wording import listed, span
from rollout.ports import Clock, Cluster
from rollout.ports_offline import NOTHING_SHOWN, Commands, Credentials, JobPhase, Jobs, JobSeen, Requests, Shown

TAIL = 2_000
"""Characters of a log or body that go to history."""
ALONE = frozenset({"backup", "migrate", "restore"})
"""Jobs beside which nobody may write to the database."""
LOOK_TIMEOUT = timedelta(seconds=10)
_NUMBER = re.compile(r"(?:^|\s)(\d+)\s*$")

Template = Callable[[str], Mapping[str, Any]]


class WorkTasks:
    """The performers of `job`, `job-halt` and `work`. `jobs` and `clusters` by cluster; `template` finds one, or raises Refused."""

    def __init__(
        self,
        jobs: Mapping[str, Jobs],
        template: Template,
        requests: Requests,
        commands: Commands,
        clock: Clock,
        credentials: Credentials | None = None,
        *,
        clusters: Mapping[str, Cluster],
    ) -> None:
        self._jobs = jobs
        self._template = template
        self._requests = requests
        self._commands = commands
        self._credentials = credentials
        self._clusters = clusters
        self._clock = clock

    def performers(self) -> dict[str, Callable[[Execution, State, Task], TaskResult]]:
        """List them by kind of task."""
        return {"job": self.job, "job-halt": self.halt, "work": self.work}

    # -- Jobs ----------------------------------------------------------------------------------------------------------

    def job(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Create the Job where it is not there yet, and look at it: `unavailable` while it runs, with any `trouble`."""
        name = task.argument("job")
        spec = _job_of(execution, name)
        manifest = self.manifest(execution, state, spec, name, task.argument("attempt"))
        return self._run(execution, task, manifest, name)

    def _run(self, execution: Execution, task: Task, manifest: Mapping[str, Any], name: str) -> TaskResult:
        jobs = self._of(execution)
        namespace, called = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        seen = jobs.look(namespace, called)
        if seen is None and task.argument("known"):
            why = f"Job {called} was taken away by somebody: nobody knows how far it came"
            return TaskResult(task.key, self._clock.now(), "done", ok=False, why=why)
        if seen is None and name in ALONE and (left := self._writers(execution)):
            return TaskResult(task.key, self._clock.now(), "unavailable", ok=False, why=f"Job {called} is not started: {left}")
        if seen is None:
            jobs.ensure(namespace, manifest)
            seen = jobs.look(namespace, called)
        if seen is None or seen.phase is JobPhase.RUNNING:
            return self._running(task, called, seen)
        return self._ended(task, called, seen, name)

    def _writers(self, execution: Execution) -> str:
        """Ask the API who still writes, past the watches: a pod that they have not brought yet would write beside the Job."""
        plan = plan_in(execution)
        if not plan.spec.stop:
            return ""
        asked = ((self._clusters.get(target.cluster), target) for target in plan.targets)
        try:
            return writers(cluster.look(target, timeout=LOOK_TIMEOUT) for cluster, target in asked if cluster is not None)
        except Rejected as no:  # nothing was started, so nothing has failed: somebody grants it, and it is asked again
            return f"who still runs cannot be asked: {no}"

    def _running(self, task: Task, called: str, seen: JobSeen | None) -> TaskResult:
        since = seen.started_at if seen is not None else None
        words = f"Job {called} runs" + (f" for {span(self._clock.now() - since)}" if since is not None else "")
        trouble = seen.trouble if seen is not None else ""
        facts = ({"job": called} if seen is not None else {}) | ({"trouble": trouble} if trouble else {})
        return TaskResult(task.key, self._clock.now(), "unavailable", ok=False, why=trouble or words, facts=facts)

    def _ended(self, task: Task, called: str, seen: JobSeen, name: str) -> TaskResult:
        facts = {"job": called}
        took = seen.ended_at - seen.started_at if seen.ended_at is not None and seen.started_at is not None else None
        if took is not None:
            facts["seconds"] = str(round(took.total_seconds()))
        if seen.exit_code is not None:
            facts["exit_code"] = str(seen.exit_code)
        if seen.log:
            facts["log"] = seen.log[-TAIL:]
        artifact = artifact_in(seen.log)
        if artifact is not None:
            facts |= {"artifact": artifact.id, "size": str(artifact.size), "sha256": artifact.sha256}
        if name == "sessions" and (number := _last_number(seen.log)) is not None:
            facts["sessions"] = number
        lines = tuple(Line(case.name, "ok" if case.passed else "failed", case.message) for case in cases_in(seen.log))
        broken = [line.name for line in lines if line.level == "failed"]
        ok = seen.phase is JobPhase.SUCCEEDED and not broken
        last = seen.log.strip().splitlines()[-1:] if seen.phase is not JobPhase.SUCCEEDED else ()
        why = f"Job {called} " + ("is done" if seen.phase is JobPhase.SUCCEEDED else f"failed: {seen.why or seen.phase.value}")
        if broken:
            why += f"; {len(broken)} of {len(lines)} cases failed: {listed(broken)}"
        elif last:
            why += f"; last line: {last[0][:300]}"
        why += f" in {span(took)}" if took is not None else ""
        return TaskResult(task.key, self._clock.now(), "done", ok=ok, why=why, lines=lines, facts=facts)

    def halt(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Bring one attempt to rest for good, and say when no pod of it is left."""
        name = task.argument("job")
        manifest = self.manifest(execution, state, _job_of(execution, name), name, task.argument("attempt"))
        called = manifest["metadata"]["name"]
        try:
            seen = self._of(execution).halt(manifest["metadata"]["namespace"], manifest)
        except Rejected as no:  # nothing goes on before it is at rest: somebody mends it, so it is asked again
            return TaskResult(
                task.key, self._clock.now(), "unavailable", ok=False, why=f"Job {called} cannot be brought to rest: {no}"
            )
        if seen.phase is JobPhase.RUNNING:
            why = f"Job {called} is not at rest yet: {seen.why}"
            return TaskResult(task.key, self._clock.now(), "unavailable", ok=False, why=why)
        return TaskResult(task.key, self._clock.now(), "done", ok=True, why=f"Job {called} is at rest ({seen.phase.value})")

    def manifest(self, execution: Execution, state: State, job: Job, name: str, attempt: str) -> dict[str, Any]:
        """Make the Job: its parameters put in, named after rollout, step and attempt, ended by the cluster at its deadline."""
        parameters = {**{k: str(v) for k, v in job.parameters.items()}, ROLLOUT_ID: execution.id}
        backup = memory_of(state).backup
        if backup is not None and name == "restore":
            parameters |= Artifact(backup.id, backup.size, backup.sha256).parameters()
        template = self._template(job.template) if job.template is not None else job.manifest or {}
        manifest = rendered(template, parameters)
        metadata = dict(manifest.get("metadata") or {})
        metadata["name"] = job_name(execution.id, name, attempt)
        metadata["namespace"] = metadata.get("namespace") or execution.target.namespace
        metadata["labels"] = {**(metadata.get("labels") or {}), "rollout/id": execution.id}
        spec = _once(manifest.get("spec") or {})
        spec.pop("ttlSecondsAfterFinished", None)  # its name stays taken: cleared away and asked for again, it would run again
        if name == "sessions":
            spec["ttlSecondsAfterFinished"] = 3600  # there is one every ten seconds, and asking twice changes nothing
        spec.setdefault("activeDeadlineSeconds", round(job.deadline.total_seconds()))
        return {**manifest, "metadata": metadata, "spec": spec}

    def _of(self, execution: Execution) -> Jobs:
        found = self._jobs.get(execution.target.cluster)
        if found is None:
            raise Refused(f"no cluster {execution.target.cluster!r} is configured")
        return found

    # -- hooks and tests -------------------------------------------------------------------------------------------------

    def work(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Do one hook or test once."""
        spec = plan_in(execution).spec
        works: dict[str, tuple[Work, ...]] = {"tests": spec.tests, "undo": spec.quiesce.undo, "hooks": spec.quiesce.hooks}
        work = works[task.argument("list")][int(task.argument("index"))]
        if work.job is not None:
            name = work_job(task.argument("list"), task.argument("mark"), int(task.argument("index")))
            manifest = self.manifest(execution, state, work.job, name, task.argument("attempt"))
            return self._run(execution, task, manifest, name)
        try:
            if work.http is not None:
                return self._http(task, work.http, work.timeout)
            return self._command(execution, task, work)
        except Unavailable as away:
            return TaskResult(task.key, self._clock.now(), "done", ok=False, why=str(away))

    def _http(self, task: Task, http: HttpRequest, timeout: timedelta) -> TaskResult:
        shown = self.shown(http)
        names = {name.lower() for name in shown.headers}
        headers = {name: value for name, value in http.headers.items() if name.lower() not in names} | dict(shown.headers)
        answer = self._requests.send(http.method, http.url, headers, http.body, timeout=timeout)
        wanted = f"{http.method} {http.url.split('?', 1)[0]}: HTTP {answer.code}"
        right = answer.code in http.status
        holds = http.contains in answer.output
        why = wanted if right else f"{wanted}, expected {' or '.join(map(str, http.status))}"
        why += "" if holds or not right else f", but the body does not hold {http.contains!r}"
        output = shown.masked(answer.output)[-TAIL:]
        facts = {"code": str(answer.code), "output": output, "seconds": f"{answer.took.total_seconds():.2f}"}
        return TaskResult(task.key, self._clock.now(), "done", ok=right and holds, why=why, facts=facts)

    def shown(self, http: HttpRequest) -> Shown:
        """Look up what a request shows, now. Raises Refused."""
        if not http.credential:
            return NOTHING_SHOWN
        if self._credentials is None:
            raise Refused(f"no credential {http.credential!r} is configured")
        return self._credentials.of(http.credential, http.url)

    def _command(self, execution: Execution, task: Task, work: Work) -> TaskResult:
        words = work.command or ()
        environment = {"ROLLOUT_ID": execution.id, "ROLLOUT_TARGET": str(execution.target), "ROLLOUT_IMAGE": execution.image}
        answer = self._commands.run(words, environment, timeout=work.timeout)
        why = f"{words[0]} ended with {answer.code}"
        facts = {"code": str(answer.code), "output": answer.output[-TAIL:], "seconds": f"{answer.took.total_seconds():.2f}"}
        return TaskResult(task.key, self._clock.now(), "done", ok=answer.code == 0, why=why, facts=facts)


def job_name(rollout: str, name: str, attempt: str) -> str:
    """Name a Job after rollout, step and attempt, within the 63 characters that a pod's label takes.

    >>> job_name("orders-3-0-1a2b3c4d", "backup", "1")
    'orders-3-0-1a2b3c4d-backup-1'
    """
    stem, _, mark = rollout.rpartition("-")
    return f"{stem[:32].rstrip('-.')}-{mark}-{name}-{attempt}".lower().replace("_", "-").replace(".", "-")


def _once(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Let a Job run once, whatever its manifest says: another attempt is the daemon's decision, under another name."""
    template = dict(spec.get("template") or {})
    template["spec"] = {**(template.get("spec") or {}), "restartPolicy": "Never"}
    return {**spec, "backoffLimit": 0, "template": template}


def _job_of(execution: Execution, name: str) -> Job:
    spec = plan_in(execution).spec
    several: dict[str, tuple[Work, ...]] = {"test": spec.tests, "undo": spec.quiesce.undo, "hook": spec.quiesce.hooks}
    works = several.get(name.partition("-")[0])
    found = works[int(name.rpartition("-")[2])].job if works is not None else _named(spec, name)
    if found is None:
        raise Refused(f"the plan has no {name} Job")
    return found


def _named(spec: OfflineSpec, name: str) -> Job | None:
    return {"backup": spec.backup, "migrate": spec.migrate, "restore": spec.restore, "sessions": spec.quiesce.sessions}[name]


def _last_number(log: str) -> str | None:
    for line in reversed(log.strip().splitlines()):
        found = _NUMBER.search(line)
        if found:
            return found[1]
    return None

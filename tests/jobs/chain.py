"""Jobs of one namespace, each run as a process on this machine the moment it is created: the performers' view of a cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout.adapters.clock import SystemClock
from rollout.adapters.job_templates import JobTemplates, default_folder
from rollout.adapters.work import HttpRequests, LocalCommands
from rollout.core.decision import Execution
from rollout.core.job_template import containers, process_of
from rollout.core.machine import begin
from rollout.core.observation import Task, TaskResult
from rollout.core.state_offline import Backup, OfflineMemory
from rollout.engine.offline_work import WorkTasks
from rollout.ports_offline import JobPhase, JobSeen
from tests.core.test_offline import plan

CLOCK = SystemClock()


@dataclass
class ProcessJobs:
    """`secret`: what the Secret holds; `folder`: what the volume is; `images`: entry points of images without a script."""

    secret: Mapping[str, str]
    folder: Path
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ended: dict[str, JobSeen] = field(default_factory=dict)

    def ensure(self, namespace: str, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        if name in self.ended:
            return
        (container,) = containers(manifest)
        words, environment = process_of(container)
        environment |= {**self.secret, "PATH": os.environ["PATH"], "ARTIFACTS": str(self.folder), "LC_ALL": "C.UTF-8"}
        began = CLOCK.now()
        words = words or list(self.images[container["image"]])
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
        phase = JobPhase.SUCCEEDED if done.returncode == 0 else JobPhase.FAILED
        self.ended[name] = JobSeen(phase, "", began, CLOCK.now(), done.returncode, log=done.stdout + done.stderr)

    def look(self, namespace: str, name: str) -> JobSeen | None:
        return self.ended.get(name)

    def halt(self, namespace: str, manifest: Mapping[str, Any]) -> JobSeen:
        return self.ended.setdefault(manifest["metadata"]["name"], JobSeen(JobPhase.HALTED))

    def may_create(self, namespace: str) -> str:
        return ""

    def unseen_ways(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_addresses(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()

    def service_names(self, namespace: str, deployment: str) -> Sequence[str]:
        return ()


class Chain:
    """The Jobs of one rollout as the daemon asks for them, by the templates' names: `kind` is `postgresql` or `mysql`."""

    def __init__(self, kind: str, database: str, jobs: ProcessJobs) -> None:
        self.jobs = jobs
        given = {"DATABASE": database, "SECRET": "database", "VOLUME": "backups"}

        def job(name: str, **more: str) -> dict[str, object]:
            return {"template": f"{kind}-{name}", "parameters": {**given, **more}}

        restore = {**job("restore"), "expected": "1m"}
        made = plan(
            backup=job("backup"), restore=restore, migrate=job("migrate", IMAGE="schema:2"), quiesce={"sessions": job("sessions")}
        )
        self.execution = Execution("orders-3-0-1a2b3c4d", made, ())
        self._state = begin(self.execution, datetime(2026, 11, 22, 9, tzinfo=UTC))
        self._memory = OfflineMemory()
        templates = JobTemplates(default_folder())
        self.work = WorkTasks({"default": jobs}, templates, HttpRequests(CLOCK), LocalCommands(CLOCK), CLOCK, clusters={})

    def run(self, job: str, attempt: int = 1) -> TaskResult:
        """Ask for one attempt, as the step does."""
        state = replace(self._state, offline=self._memory)
        task = Task(f"job-{job}-{attempt}", "job", (("attempt", str(attempt)), ("job", job)))
        return self.work.job(self.execution, state, task)

    def remember(self, result: TaskResult) -> None:
        """Keep the artifact, as the step does."""
        facts = result.facts
        self._memory = OfflineMemory(backup=Backup(facts["artifact"], int(facts["size"]), facts["sha256"], result.at))

"""Names of the log events: constants, so that they can be searched for and never drift."""

from __future__ import annotations

from typing import Final

TICK: Final = "rollout.decided"
STEP_BACK: Final = "rollout.stepping_back"
EFFECT_DONE: Final = "effect.done"
EFFECT_FAILED: Final = "effect.failed"
COMMIT_FAILED: Final = "store.unavailable"
COMMIT_LOST: Final = "store.lost_the_race"
BUG: Final = "bug"
ADOPTED: Final = "rollout.adopted"
DROPPED: Final = "rollout.dropped"
UNDECODABLE: Final = "rollout.undecodable"
LEASE_LOST: Final = "lease.lost"
LEASE_UNCERTAIN: Final = "lease.uncertain"
NOTICE_SENT: Final = "notice.sent"
NOTICE_POSTPONED: Final = "notice.postponed"
NOTICE_DEAD: Final = "notice.dead"
SOURCE_READ: Final = "source.read"
TASK_DONE: Final = "task.done"
PLAN_SUBMITTED: Final = "plan.submitted"
PLAN_REFUSED: Final = "plan.refused"
PLAN_FOLDER: Final = "plans.folder"
STALLED: Final = "periodic.stalled"
STARTED: Final = "daemon.started"
STOPPED: Final = "daemon.stopped"

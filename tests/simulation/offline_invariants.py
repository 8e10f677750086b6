"""What must hold in every offline rollout, each a sentence with a name, so that it can be said which one caught what."""

from __future__ import annotations

from enum import StrEnum

GUARDED = {"Stopping", "BackingUp", "Migrating", "Upgrading", "Testing", "Deciding", "RollingBack"}
UNDER_WAY = {"Stopping", "BackingUp", "Migrating", "Upgrading", "Testing", "Deciding"}
OPENING = {"OpeningGate", "WatchingOpen", "Ended"}


class Rule(StrEnum):
    """The invariants of the offline procedure; the story checks them inside its world."""

    ONE_SCHEMA = "code starts only on its own schema: the database is restored before old code runs again"
    NEVER_TOGETHER = "old and new code never run at once"
    NOBODY_WRITES = "no Job that touches the database runs beside the service"
    BACKUP_FIRST = "no migration without a verified backup"
    ONE_JOB = "what writes the database runs once at a time, whoever asks for it"
    HALTED_FIRST = "no restore while a migration runs"
    RIGHT_ARTIFACT = "what is restored is the backup that was verified"
    NOTHING_LOST = "no restore that nobody asked for takes away what outsiders wrote"
    NOBODY_GETS_IN = "no outside request reaches a pod between closed and open"
    IN_TIME = "the way back begins while it still fits in the window"
    LEFT = "every step is left by its deadline, or a person is asked"
    NO_BUG = "no look raises"
    REST = "it ends"
    AS_FOUND = "the gate ends as it was found, or stays closed and says so"
    OPEN_STAYS = "once the gate is open again, nothing of the service is written any more"
    ONCE = "every announcement and every notice once"
    GRACE = "nothing begins after its grace"
    GREEN_OR_A_WORD = "a version that fails its tests is opened by a person's word alone"
    ANNOUNCED = "nothing begins without a word"
    WHOLE = "it ends all new or all old: image, schema and replicas"


class Broken(BaseException):
    """An invariant does not hold. A BaseException, so that no loop swallows it."""

    def __init__(self, rule: Rule, why: str) -> None:
        super().__init__(f"{rule.name}: {rule.value}\n    {why}")
        self.rule = rule

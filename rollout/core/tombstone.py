"""The words beside the tombstone: why it was set, so that whoever finds it can end the rollout as what it really was.

A daemon that steps back and dies before it can write to the database leaves nothing but the canary Deployment's annotations.
The text is the one that history and notices carry (which no secret reaches), in one line, bounded:
`failed (pod-guard): pod web-1: web crash-loops`.
"""

from __future__ import annotations

import re

from rollout.core.history import Outcome
from rollout.core.state import Reason

MOST = 400
"""Characters of the reason that are kept; a Deployment's annotations share 256 KiB."""
_WORDS = re.compile(r"(failed|aborted) \(([a-z0-9-]{1,60})\): (\S.*)")
_PAST_THE_DAEMON = "stepped back by hand, past the daemon"
"""What stands between the name and the reason. Other versions read it: never change."""


def by_hand(actor: str, reason: str) -> Reason:
    """Word why somebody broke the glass."""
    why = f"{actor} {_PAST_THE_DAEMON}{f': {reason}' if reason else ''}"
    return Reason(why, "break-glass", Outcome.ABORTED, actor)


def inscribe(reason: Reason) -> str:
    """Word a reason for the annotation `rollout/stopped-why`."""
    why = " ".join("".join(letter if letter.isprintable() else " " for letter in reason.why[: 2 * MOST]).split())
    return f"{reason.ends_as.value} ({reason.kind}): {why if len(why) <= MOST else why[: MOST - 1] + '…'}"


def read(text: str) -> Reason | None:
    """Read such an annotation back; None where there is none, or somebody else wrote it."""
    found = _WORDS.fullmatch(text)
    if found is None:
        return None
    outcome, kind, why = found.groups()
    if kind == "break-glass":
        who, named, _ = why.partition(f" {_PAST_THE_DAEMON}")
        return Reason(why, kind, Outcome(outcome), who if named else "somebody else")
    why = f"{why} (so says the tombstone; the daemon that set it did not come to write it down)"
    return Reason(why, kind, Outcome(outcome))

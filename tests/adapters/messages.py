"""Builders of notices for the tests of notifiers."""

from __future__ import annotations

from datetime import UTC, datetime

from rollout.core.history import Notice, NoticeKind
from rollout.ports import Message

AT = datetime(2026, 11, 22, 13, 5, tzinfo=UTC)
WHY = "nginx-canary: 3 of 41 requests failed (7.3 %), baseline 0.2 %; canary scaled to 0"


def message(
    title: str = "Stepping back: nginx 1.27.3",
    why: str = WHY,
    evidence: tuple[str, ...] = ("errors: E = 24 >= 20", "13:00 to 13:05 UTC"),
    next_action: str = "Nothing to do now; fix the version, then `rollout retry 7f3a`.",
    kind: NoticeKind = NoticeKind.STEPPING_BACK,
) -> Message:
    notice = Notice("k", kind, title, why, AT, evidence, next_action)
    return Message(notice, "7f3a9c", "nginx", "prod/nginx", "main", "registry/nginx:1.27.3", "soak")

"""What is known of one OAP: how it speaks, and its clock."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.adapters.skywalking_time import ServerTime
from rollout.adapters.skywalking_versions import Dialect


@dataclass(frozen=True, slots=True)
class Server:
    """One OAP, as it was met. `dialect.trace_v2` is already what its storage really supports."""

    dialect: Dialect
    time: ServerTime
    keywords: bool = False
    """Whether logs can be searched by keyword; storages that cannot ignore keywords in silence."""

"""Which words a SkyWalking OAP understands: by its version, and by its schema when the version says nothing.

From 8.7 to 8.8 `{version}` is the literal `8.0`; since 8.9 it is `<version>-<commit>`. What each release brought was read in its
source: 9.0 metadata-v2, 9.1 `errorReason`, 9.5 `execExpression`, 10.3 `queryTraces`, 10.4 `recoveryTime`; the limit of query
complexity is 100 on 9.0 and 9.1, 1000 from 9.2, 3000 from 9.7.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

Version = tuple[int, int, int]

_VERSION = re.compile(r"^v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![.\d])")
_LITERAL_OF_8 = "8.0"
_USED = 0.8
"""How much of the complexity limit a document uses: each OAP counts with its own build of the GraphQL library."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What may be asked of one OAP, and how much at once (`complexity`, in fields of one document)."""

    version: str
    metadata_v2: bool
    error_reason: bool
    mqe: bool
    trace_v2: bool
    alarm_recovery: bool
    complexity: int


def parse_version(text: str) -> Version | None:
    """Read `9.7.0-1a2b3c4`, `10.4.0`, `11.0.0-SNAPSHOT-...`; None when it is none."""
    match = _VERSION.match(text.strip())
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def dialect_of_version(text: str) -> Dialect | None:
    """Tell by the version; None when it does not say (an own build), so that the schema must be asked."""
    version = parse_version(text)
    if version is None:
        return None
    return Dialect(
        version="8.7 or 8.8" if text.strip() == _LITERAL_OF_8 else text.strip(),
        metadata_v2=version >= (9, 0, 0),
        error_reason=version >= (9, 1, 0),
        mqe=version >= (9, 5, 0),
        trace_v2=version >= (10, 3, 0),
        alarm_recovery=version >= (10, 4, 0),
        complexity=int(_limit(version) * _USED),
    )


def dialect_of_schema(text: str, query: Collection[str], logs: Collection[str], alarms: Collection[str]) -> Dialect:
    """Tell by the fields of the types Query, Logs and AlarmMessage."""
    version: Version = (8, 7, 0)
    if "listInstances" in query:
        version = (9, 0, 0)
    if "execExpression" in query:
        version = (9, 5, 0)
    if "queryTraces" in query:
        version = (10, 3, 0)
    return Dialect(
        version=f"{text.strip()[:40] or 'unknown version'} (judged by its schema)",
        metadata_v2="listInstances" in query,
        error_reason="errorReason" in logs,
        mqe="execExpression" in query,
        trace_v2="queryTraces" in query,
        alarm_recovery="recoveryTime" in alarms,
        complexity=int(_limit(version) * _USED),
    )


def _limit(version: Version) -> int:
    if version < (9, 0, 0):
        return 3000  # 8.x has no limit; this bounds the size of one request
    if version < (9, 2, 0):
        return 100
    return 1000 if version < (9, 7, 0) else 3000

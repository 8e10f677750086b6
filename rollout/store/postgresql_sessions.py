"""Sessions of daemons that have died or sleep: found by name, and ended where they keep locks.

A process that is stopped (SIGSTOP, a frozen virtual machine, a cut network) keeps its connections, and their transactions keep
their locks. The server ends a transaction that waits for its next statement (`idle_in_transaction_session_timeout`), but not
one that was stopped between two messages of one pipeline: that is neither idle nor does a statement run, and no timeout of the
server before 17 counts. Whoever takes over therefore ends the old owner's transactions; with its lease, it lost the right to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.engine import Connection

LONGEST_NAME = 63
"""Bytes; the server cuts what is longer."""

_END = sa.text("""
    SELECT application_name, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND application_name = ANY(:names) AND xact_start < clock_timestamp() - CAST(:older AS interval)
""")


def session_name(daemon: str) -> str:
    """Name a daemon's sessions, as `pg_stat_activity` shows them; one too long, or not in ASCII, ends in a digest."""
    name = f"rollout {daemon}".rstrip()
    plain = name.encode("ascii", "replace").decode()
    if plain == name and len(name) <= LONGEST_NAME:
        return name
    digest = sha256(daemon.encode()).hexdigest()[:12]
    return f"{plain[: LONGEST_NAME - 1 - len(digest)]} {digest}"


def end_transactions(connection: Connection, daemons: Sequence[str], older: timedelta) -> list[str]:
    """End the sessions of these daemons whose transaction is older than this; name them. What is idle is left alone.

    Only sessions of our own database user: others may not be ended by us. The locks are free a moment later.
    """
    names = {session_name(daemon): daemon for daemon in daemons}
    return [names[name] for name, ended in connection.execute(_END, {"names": [*names], "older": older}) if ended]

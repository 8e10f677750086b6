r"""The tables, described for the people who query them (PostgreSQL shows the comments with `\d+`).

Start with the view `rollout_history`: it reads like a story. All times are UTC. Names and meanings never change once they are
released; a migration adds. Migrations are written out by hand in migrations/versions and do not import this module: a test
holds the two together.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Integer, Table

from rollout.store.columns import Figures, Instant, Pairs, Words

HEAD = "0001"
"""The schema that this code works with."""
KNOWN = ("0001",)
"""Every schema so far, oldest first."""

metadata = sa.MetaData()
_ID = sa.BigInteger().with_variant(Integer(), "sqlite")

plan = Table(
    "plan",
    metadata,
    Column("name", Words, primary_key=True, comment="metadata.name of the plan file"),
    Column("hash", Words, primary_key=True, comment="SHA-256 of the canonical document; name and hash identify a plan"),
    Column("kind", Words, nullable=False, comment="Canary or Offline"),
    Column("document", Words, nullable=False, comment="the plan with every default filled in, as canonical JSON"),
    Column("source", Words, nullable=False, comment="the file as it was submitted"),
    Column("submitted_by", Words, nullable=False, comment="who submitted it first"),
    Column("submitted_at", Instant, nullable=False, comment="when it was submitted first"),
    comment="Plans as submitted. Immutable.",
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", Words, primary_key=True, comment="the id that commands take (the first 6 characters are enough)"),
    Column("plan_name", Words, nullable=False, comment="the plan that is carried out"),
    Column("plan_hash", Words, nullable=False, comment="the plan that is carried out"),
    Column("kind", Words, nullable=False, comment="the procedure: canary or offline"),
    Column("cluster", Words, nullable=False, comment="the cluster's name in the daemon's configuration"),
    Column("target", Words, nullable=False, comment="namespace/Deployment; one active rollout per cluster and target"),
    Column("image", Words, nullable=False, comment="the image that the target is brought to"),
    Column("outcome", Words, nullable=False, comment="active, succeeded, failed, aborted, refused or cancelled"),
    Column("step", Words, nullable=False, comment="the step that it is in, or ended in"),
    Column("why", Words, nullable=False, comment="the sentence of the last decision"),
    Column("state", Words, nullable=False, comment="the procedure's state as JSON; for the daemon, not for people"),
    Column("version", Integer, nullable=False, comment="grows by one with each decision that is written"),
    Column("wake_at", Instant, comment="when the next decision is due at the latest; null at rest"),
    Column("created_at", Instant, nullable=False, comment="when it was submitted"),
    Column("updated_at", Instant, nullable=False, comment="when the last decision was written"),
    Column("ended_at", Instant, comment="when it came to rest; null while active"),
    Column("follows", Words, ForeignKey("rollout.id", ondelete="SET NULL"), comment="the rollout before this one"),
    Column("relation", Words, nullable=False, server_default="", comment="how it follows: retries, supersedes, hotfixes"),
    Column("owner", Words, comment="the daemon that looks after it; null: the next daemon that asks gets it"),
    sa.ForeignKeyConstraint(["plan_name", "plan_hash"], ["plan.name", "plan.hash"], name="rollout_plan"),
    comment="One execution of a plan. A retry is a new row.",
)
_ACTIVE = sa.text("outcome = 'active'")
sa.Index("rollout_one_active_per_target", rollout.c.cluster, rollout.c.target, unique=True,
         sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)  # fmt: skip
sa.Index("rollout_due", rollout.c.wake_at, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
sa.Index("rollout_of_owner", rollout.c.owner, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
sa.Index("rollout_of_plan", rollout.c.plan_name, rollout.c.plan_hash)
sa.Index("rollout_newest", rollout.c.created_at, rollout.c.id)
sa.Index("rollout_following", rollout.c.follows)

event = Table(
    "event",
    metadata,
    Column("id", _ID, primary_key=True, comment="grows with time"),
    Column("rollout", Words, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False, comment="whose history"),
    Column("at", Instant, nullable=False, comment="when it was decided"),
    Column("kind", Words, nullable=False, comment="what happened, a stable word: replica-added, soak-held, stepping-back, ..."),
    Column("step", Words, nullable=False, comment="the step that it happened in"),
    Column("why", Words, nullable=False, comment="the sentence for people"),
    Column("actor", Words, nullable=False, comment="a person, or rollout itself"),
    Column("facts", Pairs, nullable=False, comment="figures worth querying, a JSON object: replicas, share, credited_seconds"),
    comment="History: what was decided, when, by whom, why. Its evidence stands in reading.",
    sqlite_autoincrement=True,
)
sa.Index("event_of_rollout", event.c.rollout, event.c.id)

query = Table(
    "query",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("rollout", Words, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False, comment="who asked"),
    Column("hash", Words, nullable=False, comment="the first 16 hex digits of the text's SHA-256"),
    Column("text", Words, nullable=False, comment="the question as it was sent, without secrets"),
    sa.UniqueConstraint("rollout", "hash", name="query_once"),
    comment="Questions as sent to the backends, each text once per rollout, because they repeat for days.",
)

reading = Table(
    "reading",
    metadata,
    Column(
        "event",
        _ID,
        ForeignKey("event.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        comment="the decision that it supports",
    ),
    Column("place", Integer, primary_key=True, autoincrement=False, comment="1, 2, 3, ... in its event"),
    Column("signal", Words, nullable=False, comment="the signal's name in the plan"),
    Column("window_start", Instant, nullable=False, comment="start of the window that was asked about"),
    Column("window_seconds", sa.Double, nullable=False, comment="length of the window"),
    Column("query", _ID, nullable=False, comment="what was asked: query.id (no constraint: it would cost an index)"),
    Column("counts", Figures, nullable=False, comment="what came, a JSON object: candidate events, candidate requests, E, ..."),
    Column("verdict", Words, nullable=False, comment="healthy, suspect, failing, no data or unreachable"),
    Column("why", Words, nullable=False, comment="the conclusion in a sentence"),
    comment="Evidence: when a verdict changed, and a summary per hour.",
)

notice = Table(
    "notice",
    metadata,
    Column("id", _ID, primary_key=True, comment="grows with time"),
    Column("rollout", Words, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False, comment="what it is about"),
    Column("channel", Words, nullable=False, comment="where it is owed"),
    Column("sequence", Integer, nullable=False, comment="1, 2, 3, ... in one rollout and channel: delivered in this order"),
    Column("key", Words, nullable=False, comment="unique in its rollout and channel, so that owing twice is owing once"),
    Column("kind", Words, nullable=False, comment="what it is about: started, held, stepping-back, needs-a-person, ..."),
    Column("title", Words, nullable=False, comment="one line"),
    Column("why", Words, nullable=False, comment="the sentence of the decision"),
    Column("evidence", Words, nullable=False, comment="a few short lines, a JSON list"),
    Column("next_action", Words, nullable=False, comment="what happens next, or what the reader is to do"),
    Column("step", Words, nullable=False, comment="the step that the rollout was in"),
    Column("at", Instant, nullable=False, comment="when it was decided"),
    Column("state", Words, nullable=False, comment="owed, delivered or dead (given up)"),
    Column("attempts", Integer, nullable=False, comment="how often it was tried"),
    Column("next_attempt_at", Instant, nullable=False, comment="not to be tried before"),
    Column("error", Words, nullable=False, server_default="", comment="what the last failed attempt saw"),
    Column("settled_at", Instant, comment="when it was delivered or given up"),
    Column("held_by", Words, comment="who is delivering it just now"),
    Column("held_until", Instant, comment="until when nobody else takes it up"),
    sa.UniqueConstraint("rollout", "channel", "key", name="notice_once"),
    comment="The outbox: messages owed to people, written with the decision that they tell.",
    sqlite_autoincrement=True,
)
_OWED = sa.text("state = 'owed'")
sa.Index("notice_owed", notice.c.rollout, notice.c.channel, notice.c.id, sqlite_where=_OWED, postgresql_where=_OWED)
sa.Index("notice_due", notice.c.next_attempt_at, sqlite_where=_OWED, postgresql_where=_OWED)

command = Table(
    "command",
    metadata,
    Column("id", _ID, primary_key=True, comment="grows with the order of arrival"),
    Column("rollout", Words, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False, comment="to whom"),
    Column("verb", Words, nullable=False, comment="pause, resume, approve, abort, ..."),
    Column("actor", Words, nullable=False, comment="who asked"),
    Column("reason", Words, nullable=False, comment="why, in their words"),
    Column("arguments", Pairs, nullable=False, comment="a JSON object"),
    Column("at", Instant, nullable=False, comment="when it was asked"),
    Column("consumed_at", Instant, comment="when a decision took it up; null: waiting"),
    comment="What people asked of a running rollout.",
    sqlite_autoincrement=True,
)
_WAITING = sa.text("consumed_at IS NULL")
sa.Index("command_waiting", command.c.id, sqlite_where=_WAITING, postgresql_where=_WAITING)
sa.Index("command_of_rollout", command.c.rollout)

daemon = Table(
    "daemon",
    metadata,
    Column("id", Words, primary_key=True, comment="one per process"),
    Column("lease_until", Instant, nullable=False, comment="after this, others take over its rollouts"),
    Column("started_at", Instant, nullable=False, comment="when it was first seen"),
    Column("about", Words, nullable=False, comment="host, process, version"),
    comment="Living daemons, one lease each.",
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("at", Instant, nullable=False, comment="when a daemon last proved that this database can be written"),
    comment="One row that health checks write and read back.",
)

TABLES = (plan, rollout, event, query, reading, notice, command, daemon, heartbeat)

VIEWS = {
    "rollout_history": """
        SELECT event.at AS at, rollout.id AS rollout, rollout.plan_name AS plan,
               rollout.cluster || '/' || rollout.target AS target, event.step AS step, event.kind AS what,
               event.actor AS who, event.why AS why
        FROM event JOIN rollout ON rollout.id = event.rollout
        ORDER BY event.id""",
    "rollout_evidence": """
        SELECT event.at AS at, rollout.id AS rollout, rollout.plan_name AS plan, event.kind AS what,
               reading.signal AS signal, reading.window_start AS window_start, reading.window_seconds AS window_seconds,
               reading.verdict AS verdict, reading.why AS why, reading.counts AS counts, query.text AS query
        FROM reading JOIN event ON event.id = reading.event JOIN rollout ON rollout.id = event.rollout
             JOIN query ON query.id = reading.query
        ORDER BY reading.event, reading.place""",
}
"""What people read. `rollout_history`: at, rollout, plan, target, step, what, who, why."""

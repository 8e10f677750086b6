"""The first tables.

Migrations stand alone: they do not import the application, whose tables go on changing. Columns are described here and in
rollout/store/tables.py in the same words; a test holds the two together.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def _plan() -> None:
    op.create_table(
        "plan",
        sa.Column("name", sa.Text(), comment="metadata.name of the plan file"),
        sa.Column("hash", sa.Text(), comment="SHA-256 of the canonical document; name and hash identify a plan"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Canary or Offline"),
        sa.Column("document", sa.Text(), nullable=False, comment="the plan with every default filled in, as canonical JSON"),
        sa.Column("source", sa.Text(), nullable=False, comment="the file as it was submitted"),
        sa.Column("submitted_by", sa.Text(), nullable=False, comment="who submitted it first"),
        sa.Column("submitted_at", INSTANT, nullable=False, comment="when it was submitted first"),
        sa.PrimaryKeyConstraint("name", "hash", name="plan_pkey"),
        comment="Plans as submitted. Immutable.",
    )


def _rollout() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.Text(), comment="the id that commands take (the first 6 characters are enough)"),
        sa.Column("plan_name", sa.Text(), nullable=False, comment="the plan that is carried out"),
        sa.Column("plan_hash", sa.Text(), nullable=False, comment="the plan that is carried out"),
        sa.Column("kind", sa.Text(), nullable=False, comment="the procedure: canary or offline"),
        sa.Column("cluster", sa.Text(), nullable=False, comment="the cluster's name in the daemon's configuration"),
        sa.Column("target", sa.Text(), nullable=False, comment="namespace/Deployment; one active rollout per cluster and target"),
        sa.Column("image", sa.Text(), nullable=False, comment="the image that the target is brought to"),
        sa.Column("outcome", sa.Text(), nullable=False, comment="active, succeeded, failed, aborted, refused or cancelled"),
        sa.Column("step", sa.Text(), nullable=False, comment="the step that it is in, or ended in"),
        sa.Column("why", sa.Text(), nullable=False, comment="the sentence of the last decision"),
        sa.Column("state", sa.Text(), nullable=False, comment="the procedure's state as JSON; for the daemon, not for people"),
        sa.Column("version", sa.Integer(), nullable=False, comment="grows by one with each decision that is written"),
        sa.Column("wake_at", INSTANT, nullable=True, comment="when the next decision is due at the latest; null at rest"),
        sa.Column("created_at", INSTANT, nullable=False, comment="when it was submitted"),
        sa.Column("updated_at", INSTANT, nullable=False, comment="when the last decision was written"),
        sa.Column("ended_at", INSTANT, nullable=True, comment="when it came to rest; null while active"),
        sa.Column("follows", sa.Text(), nullable=True, comment="the rollout before this one"),
        sa.Column(
            "relation", sa.Text(), nullable=False, server_default="", comment="how it follows: retries, supersedes, hotfixes"
        ),
        sa.Column(
            "owner", sa.Text(), nullable=True, comment="the daemon that looks after it; null: the next daemon that asks gets it"
        ),
        sa.PrimaryKeyConstraint("id", name="rollout_pkey"),
        sa.ForeignKeyConstraint(["plan_name", "plan_hash"], ["plan.name", "plan.hash"], name="rollout_plan"),
        sa.ForeignKeyConstraint(["follows"], ["rollout.id"], name="rollout_follows_fkey", ondelete="SET NULL"),
        comment="One execution of a plan. A retry is a new row.",
    )
    op.create_index(
        "rollout_due",
        "rollout",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("outcome = 'active'"),
        postgresql_where=sa.text("outcome = 'active'"),
    )
    op.create_index("rollout_following", "rollout", ["follows"], unique=False)
    op.create_index("rollout_newest", "rollout", ["created_at", "id"], unique=False)
    op.create_index(
        "rollout_of_owner",
        "rollout",
        ["owner"],
        unique=False,
        sqlite_where=sa.text("outcome = 'active'"),
        postgresql_where=sa.text("outcome = 'active'"),
    )
    op.create_index("rollout_of_plan", "rollout", ["plan_name", "plan_hash"], unique=False)
    op.create_index(
        "rollout_one_active_per_target",
        "rollout",
        ["cluster", "target"],
        unique=True,
        sqlite_where=sa.text("outcome = 'active'"),
        postgresql_where=sa.text("outcome = 'active'"),
    )


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", ID, comment="grows with time"),
        sa.Column("rollout", sa.Text(), nullable=False, comment="whose history"),
        sa.Column("at", INSTANT, nullable=False, comment="when it was decided"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="what happened, a stable word: replica-added, soak-held, stepping-back, ...",
        ),
        sa.Column("step", sa.Text(), nullable=False, comment="the step that it happened in"),
        sa.Column("why", sa.Text(), nullable=False, comment="the sentence for people"),
        sa.Column("actor", sa.Text(), nullable=False, comment="a person, or rollout itself"),
        sa.Column(
            "facts",
            sa.JSON(),
            nullable=False,
            comment="figures worth querying, a JSON object: replicas, share, credited_seconds",
        ),
        sa.PrimaryKeyConstraint("id", name="event_pkey"),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], name="event_rollout_fkey", ondelete="CASCADE"),
        comment="History: what was decided, when, by whom, why. Its evidence stands in reading.",
        sqlite_autoincrement=True,
    )
    op.create_index("event_of_rollout", "event", ["rollout", "id"], unique=False)


def _query() -> None:
    op.create_table(
        "query",
        sa.Column("id", ID),
        sa.Column("rollout", sa.Text(), nullable=False, comment="who asked"),
        sa.Column("hash", sa.Text(), nullable=False, comment="the first 16 hex digits of the text's SHA-256"),
        sa.Column("text", sa.Text(), nullable=False, comment="the question as it was sent, without secrets"),
        sa.PrimaryKeyConstraint("id", name="query_pkey"),
        sa.UniqueConstraint("rollout", "hash", name="query_once"),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], name="query_rollout_fkey", ondelete="CASCADE"),
        comment="Questions as sent to the backends, each text once per rollout, because they repeat for days.",
    )


def _reading() -> None:
    op.create_table(
        "reading",
        sa.Column("event", ID, autoincrement=False, comment="the decision that it supports"),
        sa.Column("place", sa.Integer(), autoincrement=False, comment="1, 2, 3, ... in its event"),
        sa.Column("signal", sa.Text(), nullable=False, comment="the signal's name in the plan"),
        sa.Column("window_start", INSTANT, nullable=False, comment="start of the window that was asked about"),
        sa.Column("window_seconds", sa.Double(), nullable=False, comment="length of the window"),
        sa.Column("query", ID, nullable=False, comment="what was asked: query.id (no constraint: it would cost an index)"),
        sa.Column(
            "counts",
            sa.JSON(),
            nullable=False,
            comment="what came, a JSON object: candidate events, candidate requests, E, ...",
        ),
        sa.Column("verdict", sa.Text(), nullable=False, comment="healthy, suspect, failing, no data or unreachable"),
        sa.Column("why", sa.Text(), nullable=False, comment="the conclusion in a sentence"),
        sa.PrimaryKeyConstraint("event", "place", name="reading_pkey"),
        sa.ForeignKeyConstraint(["event"], ["event.id"], name="reading_event_fkey", ondelete="CASCADE"),
        comment="Evidence: when a verdict changed, and a summary per hour.",
    )


def _notice() -> None:
    op.create_table(
        "notice",
        sa.Column("id", ID, comment="grows with time"),
        sa.Column("rollout", sa.Text(), nullable=False, comment="what it is about"),
        sa.Column("channel", sa.Text(), nullable=False, comment="where it is owed"),
        sa.Column(
            "sequence", sa.Integer(), nullable=False, comment="1, 2, 3, ... in one rollout and channel: delivered in this order"
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="unique in its rollout and channel, so that owing twice is owing once"),
        sa.Column("kind", sa.Text(), nullable=False, comment="what it is about: started, held, stepping-back, needs-a-person, ..."),
        sa.Column("title", sa.Text(), nullable=False, comment="one line"),
        sa.Column("why", sa.Text(), nullable=False, comment="the sentence of the decision"),
        sa.Column("evidence", sa.Text(), nullable=False, comment="a few short lines, a JSON list"),
        sa.Column("next_action", sa.Text(), nullable=False, comment="what happens next, or what the reader is to do"),
        sa.Column("step", sa.Text(), nullable=False, comment="the step that the rollout was in"),
        sa.Column("at", INSTANT, nullable=False, comment="when it was decided"),
        sa.Column("state", sa.Text(), nullable=False, comment="owed, delivered or dead (given up)"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="how often it was tried"),
        sa.Column("next_attempt_at", INSTANT, nullable=False, comment="not to be tried before"),
        sa.Column("error", sa.Text(), nullable=False, server_default="", comment="what the last failed attempt saw"),
        sa.Column("settled_at", INSTANT, nullable=True, comment="when it was delivered or given up"),
        sa.Column("held_by", sa.Text(), nullable=True, comment="who is delivering it just now"),
        sa.Column("held_until", INSTANT, nullable=True, comment="until when nobody else takes it up"),
        sa.PrimaryKeyConstraint("id", name="notice_pkey"),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], name="notice_rollout_fkey", ondelete="CASCADE"),
        sa.UniqueConstraint("rollout", "channel", "key", name="notice_once"),
        comment="The outbox: messages owed to people, written with the decision that they tell.",
        sqlite_autoincrement=True,
    )
    op.create_index(
        "notice_due",
        "notice",
        ["next_attempt_at"],
        unique=False,
        sqlite_where=sa.text("state = 'owed'"),
        postgresql_where=sa.text("state = 'owed'"),
    )
    op.create_index(
        "notice_owed",
        "notice",
        ["rollout", "channel", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'owed'"),
        postgresql_where=sa.text("state = 'owed'"),
    )


def _command() -> None:
    op.create_table(
        "command",
        sa.Column("id", ID, comment="grows with the order of arrival"),
        sa.Column("rollout", sa.Text(), nullable=False, comment="to whom"),
        sa.Column("verb", sa.Text(), nullable=False, comment="pause, resume, approve, abort, ..."),
        sa.Column("actor", sa.Text(), nullable=False, comment="who asked"),
        sa.Column("reason", sa.Text(), nullable=False, comment="why, in their words"),
        sa.Column("arguments", sa.JSON(), nullable=False, comment="a JSON object"),
        sa.Column("at", INSTANT, nullable=False, comment="when it was asked"),
        sa.Column("consumed_at", INSTANT, nullable=True, comment="when a decision took it up; null: waiting"),
        sa.PrimaryKeyConstraint("id", name="command_pkey"),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], name="command_rollout_fkey", ondelete="CASCADE"),
        comment="What people asked of a running rollout.",
        sqlite_autoincrement=True,
    )
    op.create_index("command_of_rollout", "command", ["rollout"], unique=False)
    op.create_index(
        "command_waiting",
        "command",
        ["id"],
        unique=False,
        sqlite_where=sa.text("consumed_at IS NULL"),
        postgresql_where=sa.text("consumed_at IS NULL"),
    )


def _daemon() -> None:
    op.create_table(
        "daemon",
        sa.Column("id", sa.Text(), comment="one per process"),
        sa.Column("lease_until", INSTANT, nullable=False, comment="after this, others take over its rollouts"),
        sa.Column("started_at", INSTANT, nullable=False, comment="when it was first seen"),
        sa.Column("about", sa.Text(), nullable=False, comment="host, process, version"),
        sa.PrimaryKeyConstraint("id", name="daemon_pkey"),
        comment="Living daemons, one lease each.",
    )


def _heartbeat() -> None:
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer(), autoincrement=False, comment="always 1"),
        sa.Column("at", INSTANT, nullable=False, comment="when a daemon last proved that this database can be written"),
        sa.PrimaryKeyConstraint("id", name="heartbeat_pkey"),
        comment="One row that health checks write and read back.",
    )


HISTORY = """
        SELECT event.at AS at, rollout.id AS rollout, rollout.plan_name AS plan,
               rollout.cluster || '/' || rollout.target AS target, event.step AS step, event.kind AS what,
               event.actor AS who, event.why AS why
        FROM event JOIN rollout ON rollout.id = event.rollout
        ORDER BY event.id"""

EVIDENCE = """
        SELECT event.at AS at, rollout.id AS rollout, rollout.plan_name AS plan, event.kind AS what,
               reading.signal AS signal, reading.window_start AS window_start, reading.window_seconds AS window_seconds,
               reading.verdict AS verdict, reading.why AS why, reading.counts AS counts, query.text AS query
        FROM reading JOIN event ON event.id = reading.event JOIN rollout ON rollout.id = event.rollout
             JOIN query ON query.id = reading.query
        ORDER BY reading.event, reading.place"""


def upgrade() -> None:
    _plan()
    _rollout()
    _event()
    _query()
    _reading()
    _notice()
    _command()
    _daemon()
    _heartbeat()
    op.execute("CREATE VIEW rollout_history AS" + HISTORY)
    op.execute("CREATE VIEW rollout_evidence AS" + EVIDENCE)

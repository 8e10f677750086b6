"""A database of each kind with something of everything in it, and the Jobs of its templates: for the tests of backup and restore.

`MIGRATION` changes all of it; `MIGRATE` is the entry point of an image that migrates, which finds the database in its
environment alone; `FINGERPRINT` is different when anything is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psycopg
from psycopg import sql

from tests.jobs.templates import Runner
from tests.peers.mariadb import MariaDb
from tests.peers.postgresql import PostgreSql

ORDERS_SCHEMA = """
CREATE TYPE status AS ENUM ('new', 'paid');
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, paid status DEFAULT 'new', raw bytea);
CREATE INDEX orders_note ON orders (note);
CREATE VIEW paid_orders AS SELECT * FROM orders WHERE paid = 'paid';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
INSERT INTO orders (note, paid, raw) SELECT 'Bestellung ' || n || ' für Ωμέγα 🙂 ''quoted''', 'paid', decode('00ff', 'hex')
  FROM generate_series(1, 500) n;
ALTER DATABASE "{database}" SET work_mem = '7MB';
"""
ORDERS_MIGRATION = """
ALTER TABLE orders ADD COLUMN total int NOT NULL DEFAULT 0; DROP VIEW paid_orders; DELETE FROM orders WHERE id > 100;
UPDATE orders SET note = 'overwritten'; CREATE TABLE invoices (id int); DROP FUNCTION twice;
ALTER DATABASE "{database}" SET work_mem = '9MB';
"""
ORDERS_MIGRATE = ("/bin/sh", "-euc", "psql -XqAt -v ON_ERROR_STOP=1 -c 'CREATE TABLE invoices (id int)' -c 'DELETE FROM orders'")
ORDERS_FINGERPRINT = """
SELECT md5(string_agg(o::text, '|' ORDER BY id)) || ' ' || twice(21) || ' ' || (SELECT count(*) FROM paid_orders)
  || ' ' || current_setting('work_mem') || ' '
  || (SELECT string_agg(table_name || '.' || column_name, ',' ORDER BY table_name, column_name) FROM information_schema.columns
      WHERE table_schema = 'public') FROM orders o
"""

BILLS_SCHEMA = """
CREATE TABLE bills (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200), raw BLOB, changed INT DEFAULT 0) CHARACTER SET utf8mb4;
INSERT INTO bills (note, raw) SELECT CONCAT('Rechnung ', seq, ' für Ωμέγα 🙂 ''quoted'''), 0x00FF27 FROM seq_1_to_500;
CREATE VIEW open_bills AS SELECT id FROM bills WHERE changed = 0;
CREATE TRIGGER bump BEFORE UPDATE ON bills FOR EACH ROW SET NEW.changed = OLD.changed + 1;
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM bills WHERE id < 0;
"""
BILLS_MIGRATION = """
ALTER TABLE bills ADD COLUMN total INT NOT NULL DEFAULT 0; DROP VIEW open_bills; DROP TRIGGER bump; DELETE FROM bills WHERE id > 9;
UPDATE bills SET note = 'overwritten'; CREATE TABLE extra (id INT); DROP FUNCTION twice; DROP EVENT nightly;
"""
BILLS_MIGRATE = ("/bin/sh", "-euc", """\
echo 'CREATE TABLE extra (id int); DELETE FROM bills' |
  mariadb --no-defaults -h "$MYSQL_HOST" -P "$MYSQL_PORT" -u "$MYSQL_USER" "$MYSQL_DATABASE"
""")  # fmt: skip
BILLS_FINGERPRINT = """
SET SESSION group_concat_max_len = 10000000;
SELECT MD5(GROUP_CONCAT(id, note, HEX(raw), changed ORDER BY id)), twice(21), (SELECT COUNT(*) FROM open_bills),
  (SELECT GROUP_CONCAT(trigger_name) FROM information_schema.triggers WHERE trigger_schema = DATABASE()),
  (SELECT GROUP_CONCAT(event_name) FROM information_schema.events WHERE event_schema = DATABASE()),
  (SELECT GROUP_CONCAT(table_name, '.', column_name ORDER BY table_name, column_name) FROM information_schema.columns
    WHERE table_schema = DATABASE()),
  @@character_set_database FROM bills
"""


class Database(Protocol):
    """What both can do. `kind` begins the templates' names, `entry` is a migration that adds `table` and deletes rows."""

    kind: str
    name: str
    jobs: Runner
    entry: tuple[str, ...]
    table: str

    def fingerprint(self) -> str:
        """Everything that a restore must bring back, in one line."""
        ...

    def rows(self, table: str) -> int: ...

    def drop(self) -> None: ...


class Orders:
    """In a PostgreSQL."""

    kind, entry, table = "postgresql", ORDERS_MIGRATE, "invoices"

    def __init__(self, peer: PostgreSql, folder: Path) -> None:
        # A name that needs quoting everywhere.
        self.name = f"Orders-{uuid4().hex[:8]}"
        self.peer = peer
        peer.create_database(self.name)
        self.jobs = Runner(folder, {"PGHOST": "127.0.0.1", "PGPORT": str(peer.port), "PGUSER": peer.user}, {"DATABASE": self.name})
        self.execute(ORDERS_SCHEMA.format(database=self.name))

    def execute(self, statements: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statements)

    def migrate(self) -> None:
        self.execute(ORDERS_MIGRATION.format(database=self.name))

    def fingerprint(self) -> str:
        return str(self._one(sql.SQL(ORDERS_FINGERPRINT)))

    def rows(self, table: str) -> int:
        return int(self._one(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))))

    def _one(self, query: sql.SQL | sql.Composed) -> Any:  # noqa: ANN401 - a value of any type
        with psycopg.connect(self.conninfo) as connection:
            row = connection.execute(query).fetchone()
            assert row is not None
            return row[0]

    def drop(self) -> None:
        self.peer.drop_database(self.name)

    @property
    def conninfo(self) -> str:
        return self.peer.conninfo(self.name)


class Bills:
    """In a MariaDB."""

    kind, entry, table = "mysql", BILLS_MIGRATE, "extra"

    def __init__(self, peer: MariaDb, folder: Path) -> None:
        self.name = f"billing-{uuid4().hex[:8]}"
        self.peer = peer
        peer.execute(f"CREATE DATABASE `{self.name}` CHARACTER SET utf8mb4")
        secret = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(peer.port), "MYSQL_USER": peer.user, "MYSQL_PWD": peer.password}
        self.jobs = Runner(folder, secret, {"DATABASE": self.name})
        self.execute(BILLS_SCHEMA)

    def execute(self, statements: str) -> str:
        return self.peer.execute(f"SET NAMES utf8mb4; {statements}", self.name)

    def migrate(self) -> None:
        self.execute(BILLS_MIGRATION)

    def fingerprint(self) -> str:
        return self.execute(BILLS_FINGERPRINT)

    def rows(self, table: str) -> int:
        return int(self.execute(f"SELECT COUNT(*) FROM `{table}`"))  # noqa: S608 -- a name of ours

    def drop(self) -> None:
        self.peer.execute(f"DROP DATABASE IF EXISTS `{self.name}`")

"""A real PostgreSQL in a temporary folder, as an account without rights, so that it may be killed and hung."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from signal import SIGINT
from typing import Self

from tests.peers.process import Folder, Server, free_port, give_away, on_path, unprivileged


def _program(name: str) -> Path | None:
    """Debian keeps the server's programs off PATH; the newest version wins."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return versions[-1] if versions else on_path(name)


class PostgreSql:
    """PostgreSQL on a loopback port, with trust authentication and fsync on (a commit that was acknowledged survives `kill`)."""

    user = "rollout"

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        if _program("initdb") and _program("postgres"):
            return None
        return "PostgreSQL's initdb and postgres are missing (Debian package postgresql)"

    def __enter__(self) -> Self:
        self._folder = Folder("postgresql", in_memory=True)
        self.port = free_port()
        folder = self._folder.path
        give_away(folder)
        try:
            self._initialise(folder)
            command = [
                _program("postgres") or "postgres", "-D", folder / "cluster", "-p", str(self.port), "-h", "127.0.0.1",
                "-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=32MB",
                "-c", "log_min_duration_statement=1000",
            ]  # fmt: skip
            # SIGINT is "fast shutdown": sessions are ended, nothing is lost.
            self.server = Server("postgresql", command, folder, as_root=False, stop_signal=SIGINT)
            self.start()
            self.create_database(self.user)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "server"):
            self.server.stop(5)
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        return [
            f"PostgreSQL at {self.url()}; log in {self.server.log}",
            f"  psql postgresql://{self.user}@127.0.0.1:{self.port}/{self.user}",
        ]

    def url(self, database: str = user) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{self.user}@127.0.0.1:{self.port}/{database}"

    def conninfo(self, database: str = user) -> str:
        """The same for libpq and psycopg."""
        return f"host=127.0.0.1 port={self.port} user={self.user} dbname={database}"

    def create_database(self, name: str) -> str:
        """Make an empty database (a test's own) and give its SQLAlchemy URL."""
        self.execute(f'CREATE DATABASE "{name}"', "postgres")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', "postgres")

    def execute(self, statement: str, database: str = user) -> str:
        """Run one statement outside a transaction, with psql; what it prints, bare."""
        command = [
            str(_program("psql") or "psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.conninfo(database),
            "-c",
            statement,
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{statement}: {done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """Start it (again, after `stop` or `kill`) and wait until it takes connections."""
        self.server.start()
        self.server.wait_for(self._takes_connections)

    def stop(self) -> None:
        """Shut it down: sessions are ended with an error, in the midst of whatever they do."""
        self.server.stop()

    def kill(self) -> None:
        """End it and all its sessions as a power cut would (SIGKILL to each of its processes)."""
        self.server.kill()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: each of its processes is stopped; sessions stay open and answer nothing."""
        self.server.pause()

    def resume(self) -> None:
        """End `pause`."""
        self.server.resume()

    def _initialise(self, folder: Path) -> None:
        command = [
            str(_program("initdb")),
            "-D",
            str(folder / "cluster"),
            "-U",
            self.user,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, **unprivileged())
        assert done.returncode == 0, f"initdb: {done.stderr}"

    def _takes_connections(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
            command = [str(_program("psql") or "psql"), "-XAtq", "-d", self.conninfo("postgres"), "-c", "SELECT 1"]
            return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0
        except OSError:
            return False

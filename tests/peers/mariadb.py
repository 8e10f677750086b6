"""A real MariaDB in a temporary folder, for backups and migrations of the offline procedure."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Self

from tests.peers.process import Folder, Server, free_port, give_away, on_path, unprivileged


class MariaDb:
    """MariaDB on a loopback port; `user` may do everything, with `password`."""

    user = "rollout"
    password = "peer"  # noqa: S105 -- a throw-away server on loopback

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        programs = ("mariadbd", "mariadb-install-db", "mariadb")
        missing = [name for name in programs if on_path(name) is None]
        return f"{', '.join(missing)} missing (Debian package mariadb-server)" if missing else None

    def __enter__(self) -> Self:
        self._folder = Folder("mariadb", in_memory=True)
        self.port = free_port()
        give_away(self._folder.path)
        try:
            self._initialise()
            folder = self._folder.path
            command = [
                on_path("mariadbd") or "mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/socket",
                f"--pid-file={folder}/pid", "--bind-address=127.0.0.1", f"--port={self.port}", "--innodb-buffer-pool-size=32M",
                "--skip-name-resolve",
            ]  # fmt: skip
            self.server = Server("mariadb", command, folder, as_root=False)
            self.start()
            account = f"'{self.user}'@'127.0.0.1'"
            self._as_root(f"CREATE USER {account} IDENTIFIED BY '{self.password}'; GRANT ALL ON *.* TO {account} WITH GRANT OPTION")
            self.execute(f"CREATE DATABASE {self.user}", "mysql")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "server"):
            self.server.kill()
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        login = f"mariadb -h 127.0.0.1 -P {self.port} -u {self.user} -p{self.password} {self.user}"
        return [f"MariaDB at 127.0.0.1:{self.port}; log in {self.server.log}", f"  {login}"]

    def execute(self, statement: str, database: str = user) -> str:
        """Run SQL with the mariadb client; what it prints, bare."""
        login = ["-h", "127.0.0.1", "-P", str(self.port), "-u", self.user, f"-p{self.password}", database]
        return self._client(login, statement)

    def start(self) -> None:
        """Start it (again, after `stop` or `kill`) and wait until it answers."""
        self.server.start()
        self.server.wait_for(self._answers)

    def stop(self) -> None:
        """Shut it down."""
        self.server.stop()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self.server.kill()

    def pause(self) -> None:
        """Let it hang (SIGSTOP)."""
        self.server.pause()

    def resume(self) -> None:
        """End `pause`."""
        self.server.resume()

    def _initialise(self) -> None:
        command = [
            str(on_path("mariadb-install-db")), "--no-defaults", f"--datadir={self._folder.path}/data",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        ]  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self._folder.path, **unprivileged())
        assert done.returncode == 0, f"mariadb-install-db: {done.stdout}{done.stderr}"

    def _as_root(self, statement: str) -> str:
        return self._client(["-S", f"{self._folder.path}/socket", "-u", "root"], statement)

    def _answers(self) -> bool:
        try:
            return self._as_root("SELECT 1") == "1"
        except AssertionError:
            return False

    @staticmethod
    def _client(login: Sequence[str], statement: str) -> str:
        command = [str(on_path("mariadb")), "--no-defaults", *login, "-BN", "-e", statement]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{statement}: {done.stderr}"
        return done.stdout.strip()

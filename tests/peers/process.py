"""What every real server needs here: a folder, a free port, a process that is waited for and always ended."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from tests.peers.reaper import signal_family

_FIRST_PORT, _LAST_PORT = 15000, 31999
_UNPRIVILEGED = "nobody"
_MEMORY, _ROOM = Path("/dev/shm"), 2 << 30  # noqa: S108 -- mkdtemp makes an unguessable folder in it

Available = Callable[[], str | None]


class Peer(Protocol):
    """A real server that tests talk to. It runs between `with` and its end."""

    @staticmethod
    def available() -> str | None:
        """Say why the server cannot run here and what would help; None when it can."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def describe(self) -> Sequence[str]:
        """Lines for a person who started it by hand: addresses, logins, commands to try."""
        ...


class NotReadyError(AssertionError):
    """A server ended, or did not come to the state that was waited for in time."""


def wait_until(condition: Callable[[], object], seconds: float, what: str, *, every: float = 0.05) -> None:
    """Return once `condition()` is true; raise NotReadyError naming `what` after `seconds`."""
    pause = threading.Event()
    deadline = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > deadline:
            raise NotReadyError(f"{what}: not seen within {seconds:g} s")
        pause.wait(every)


def free_port(host: str = "127.0.0.1") -> int:
    """Find a free port below the range from which the system serves outgoing connections.

    A port of that range could be taken by a client while the server restarts; a client that keeps knocking on it
    could even connect to itself.
    """
    dice = random.SystemRandom()
    for _ in range(200):
        port = dice.randint(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise NotReadyError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on {host}")


class _Reaper:
    """The other end of reaper.py; started with the first server, ended with the interpreter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def tell(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                script = Path(__file__).with_name("reaper.py")
                self._process = subprocess.Popen(
                    [sys.executable, "-IS", str(script)], stdin=subprocess.PIPE, text=True, start_new_session=True
                )
                self._owner = os.getpid()
                atexit.register(self._end)
            stdin = self._process.stdin
            if stdin is not None:
                stdin.write(line + "\n")
                stdin.flush()

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(OSError):
                self._process.communicate(timeout=10)


_reaper = _Reaper()


def unprivileged() -> dict[str, Any]:
    """Tell subprocess.Popen to give up root, for the servers that refuse it; nothing when we are not root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def give_away(path: Path, *, deep: bool = True) -> None:
    """Hand a folder, and all in it unless told otherwise, to the account that `unprivileged` names."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(_UNPRIVILEGED)
    for found in (path, *(path.rglob("*") if deep else ())):
        os.chown(found, account.pw_uid, account.pw_gid, follow_symlinks=False)


class Folder:
    """A temporary folder that is removed even if the tests are killed; in memory where it is asked for and there is plenty.

    Databases flush to disk all the time. In memory that costs nothing, and what survives a killed process is the
    same.
    """

    def __init__(self, name: str, *, in_memory: bool = False) -> None:
        roomy = in_memory and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
        self.path = Path(tempfile.mkdtemp(prefix=f"rollout-peer-{name}-", dir=_MEMORY if roomy else None))
        self.path.chmod(0o711)
        _reaper.tell(f"+folder {self.path}")

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        _reaper.tell(f"-folder {self.path}")


class Server:
    """One server process: its output goes to `<folder>/<name>.log`, and it leads a session of its own, out of reach of Ctrl-C."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        as_root: bool = True,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8"}
        self._environment.update(environment or {})
        self._as_root = as_root
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process; `wait_for` tells when it serves."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **({} if self._as_root else unprivileged()),
            )
        _reaper.tell(f"+pid {self._process.pid}")

    def wait_for(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until the condition holds; fail at once, with the end of the log, when the process ends before."""

        def ready_or_gone() -> bool:
            return not self.running or bool(condition())

        try:
            wait_until(ready_or_gone, seconds, f"{self.name} ready")
        except NotReadyError as error:
            raise NotReadyError(f"{error}; its log ends:\n{self.tail()}") from None
        if not self.running:
            raise NotReadyError(f"{self.name} ended with {self._exit_code()} before it was ready; its log ends:\n{self.tail()}")

    def stop(self, seconds: float = 20) -> None:
        """End the process politely, and with its children by force after `seconds`."""
        if self.running:
            self.resume()
            os.kill(self.pid, self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the process and its children as a power cut would (SIGKILL)."""
        if self._process is not None:
            signal_family(self.pid, signal.SIGKILL)
            self._wait(20)
            _reaper.tell(f"-pid {self._process.pid}")
            self._process = None

    def pause(self) -> None:
        """Stop the process in its tracks (SIGSTOP): it holds its sockets and answers nothing."""
        signal_family(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        signal_family(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 15) -> str:
        if not self.log.exists():
            return "(empty)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        self._process.wait(timeout=seconds)

    def _exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode


def on_path(*names: str) -> Path | None:
    """Find the first of these programs on PATH or where Debian keeps servers."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=places)
        if found:
            return Path(found)
    return None

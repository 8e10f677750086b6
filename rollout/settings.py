"""The daemon's configuration: one YAML file, overridden by the environment, parsed once and completely.

Unknown keys are refused with a suggestion, in the file's own terms: the place of each value is known to the end. Secrets come
from files (`passwordFile`, `urlFile`, ...), from environment variables (`passwordEnv`, ...) or stand in the file, and are
SecretStr from then on. What stands under `ROLLOUT_`, with `__` between levels, wins over the file: `ROLLOUT_HTTP__PORT=9090`,
`ROLLOUT_DATABASE=sqlite:///rollout.db`, `ROLLOUT_POLICY__MINIMUM_SOAK=12h`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr

from rollout.core.errors import Refused
from rollout.core.history import NoticeKind
from rollout.core.plan_base import Contradiction, Part
from rollout.core.policy import Policy
from rollout.core.quantities import Duration, Line, LongDuration, Whole, as_text, seen, wrong
from rollout.settings_entries import Entry

__all__ = [
    "Channel",
    "ClusterEntry",
    "CredentialEntry",
    "Database",
    "Entry",
    "Http",
    "Log",
    "Plans",
    "Retention",
    "Settings",
    "Timing",
]


def _file_path(value: object) -> object:
    text = as_text(value)
    if isinstance(text, str) and (not text or "\0" in text):
        raise wrong(f"{seen(text)} is not a path")
    return text


FilePath = Annotated[Path, BeforeValidator(_file_path)]


def _unreadable(file: Path) -> str:
    """Say why no secret can be read from a file of its own; empty where one can."""
    try:
        return "" if file.read_text(encoding="utf-8").strip() else f"{file} is empty"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return f"{file} cannot be read: {reason}"


class Database(Part):
    """Where rollouts are kept: SQLite for one daemon, PostgreSQL for several. The URL may hold a password."""

    bare: ClassVar[str] = "url"

    url: SecretStr | None = None
    url_file: FilePath | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """One place, which can be read."""
        if self.url is not None and self.url_file is not None:
            yield Contradiction("urlFile", "goes not together with url", also=("url",))
        elif self.url_file is not None and (why := _unreadable(self.url_file)):
            yield Contradiction("urlFile", why)

    @property
    def address(self) -> str:
        """The URL, secret included: for the store and nobody else. Raises Refused when its file cannot be read (any more)."""
        if self.url is not None:
            return self.url.get_secret_value()
        if self.url_file is None:
            return "sqlite:///rollout.db"
        if why := _unreadable(self.url_file):
            raise Refused(f"database.urlFile: {why}")
        return self.url_file.read_text(encoding="utf-8").strip()


Ignored = Annotated[None, BeforeValidator(lambda _: None)]
"""A key that earlier files have and that does nothing: whatever stands there is not even read."""


class Http(Part):
    """Where /metrics, /healthz and /readyz are served: loopback unless told otherwise. They tell no secret and take no order."""

    host: Line = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8080
    tokens: Ignored = None
    public_url: Ignored = None

    def without_effect(self) -> Iterator[str]:
        """Name the keys of the file that do nothing."""
        fields = type(self).model_fields
        yield from (f"http.{fields[name].alias}" for name in ("tokens", "public_url") if name in self.model_fields_set)


class ClusterEntry(Entry):
    """One Kubernetes API."""

    type: Line = "kubernetes"


class CredentialEntry(Entry):
    """What tests and hooks of offline plans show to whom they ask."""

    type: Line = "http"


class Channel(Entry):
    """One chat or webhook. `events`: which kinds of notice it gets; empty: all."""

    events: tuple[NoticeKind, ...] = ()


class Plans(Part):
    """A folder whose plan files are submitted when they appear or change."""

    folder: FilePath | None = None
    every: Duration = timedelta(seconds=5)
    jobs: FilePath | None = None
    """Where the templates of offline plans' Jobs are; default: those that come with rollout."""


class Log(Part):
    """One line per tick that changed something. `auto`: console on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Timing(Part):
    """How closely rollouts are looked at, and how often the periodic work is done."""

    look_every: Duration = timedelta(seconds=60)
    """The longest time between two looks at an active rollout."""
    longest_gap: Duration = timedelta(seconds=150)
    """A longer time between two looks is not credited."""
    save_every: Duration = timedelta(minutes=5)
    """Credited time is stored at least this often."""
    lease: Duration = timedelta(seconds=12)
    """How long a daemon that fell silent keeps its rollouts: with one round of claiming, another has them within 15 s."""
    ask_every: Duration = timedelta(seconds=5)
    """How often backends are asked what is due."""
    outbox_every: Duration = timedelta(seconds=1)

    def contradictions(self) -> Iterator[Contradiction]:
        """A gap that is shorter than the time between looks would never credit anything."""
        if self.longest_gap <= self.look_every:
            words = "is not longer than lookEvery, so that no time would be credited"
            yield Contradiction("longestGap", words, also=("lookEvery",))


class Retention(Part):
    """How long rollouts that ended are kept, with their history and evidence."""

    keep: LongDuration = timedelta(days=365)
    every: Duration = timedelta(hours=6)


class Settings(Part):
    """Everything that a daemon is told. Made by `settings_file.load_settings`; names of entries are what plans refer to."""

    database: Database = Database()
    http: Http = Http()
    clusters: Annotated[tuple[ClusterEntry, ...], Field(min_length=1, max_length=50)] = (ClusterEntry(name="default"),)
    backends: Annotated[tuple[Entry, ...], Field(max_length=200)] = ()
    gateways: Annotated[tuple[Entry, ...], Field(max_length=50)] = ()
    credentials: Annotated[tuple[CredentialEntry, ...], Field(max_length=200)] = ()
    channels: Annotated[tuple[Channel, ...], Field(max_length=100)] = ()
    policy: Policy = Policy()
    plans: Plans = Plans()
    log: Log = Log()
    timing: Timing = Timing()
    retention: Retention = Retention()

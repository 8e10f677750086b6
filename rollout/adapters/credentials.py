"""What tests and hooks of offline plans show to the services that they ask: plans name it, the daemon looks it up when it asks.

The secret itself stands in the daemon's configuration, a file or a variable. It goes into one request, only to the hosts that it is
meant for, and out of what the answer repeats of it before that is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from rollout.adapters.http import HeaderSecret, check_header
from rollout.core.errors import Refused
from rollout.core.plan_errors import nearest
from rollout.core.quantities import Line, wrong
from rollout.ports_offline import Shown


class CredentialSettings(BaseModel):
    """One credential: `bearer_token`, or `username` with `password`, or any `header` with its `value`.

    `hosts`: shell globs of the hosts that may see it. Files are read again for every request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: Literal["http"] = "http"
    hosts: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100)]
    bearer_token: HeaderSecret | None = None
    bearer_token_file: Path | None = None
    username: str = ""
    password: SecretStr | None = None
    password_file: Path | None = None
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$")] = ""
    value: HeaderSecret | None = None
    value_file: Path | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        ways = {"bearerToken": self.bearer_token, "bearerTokenFile": self.bearer_token_file, "username": self.username,
                "value": self.value, "valueFile": self.value_file}  # fmt: skip
        given = [name for name, value in ways.items() if value]
        if len(given) != 1:
            remedy = "exactly one of bearerToken, username (with password) and value (with header), or their File and Env forms"
            raise wrong(f"{' and '.join(given)} are given" if given else "nothing is there to be shown", remedy)
        if bool(self.header) != (given[0] in {"value", "valueFile"}):
            raise wrong("header and value go together", "header: X-API-KEY beside valueFile", "header")
        passwords = {"password": self.password is not None, "passwordFile": self.password_file is not None}
        if sum(passwords.values()) != bool(self.username):
            named = next((key for key, there in reversed(passwords.items()) if there), "username")
            raise wrong("username and one password go together", key=named)
        return self

    def shown(self) -> Shown:
        """Read it now. Raises Refused without a part of it."""
        if self.username:
            password = _read(self.password_file) if self.password_file is not None else ""
            password = self.password.get_secret_value() if self.password is not None else password
            packed = base64.b64encode(f"{self.username}:{password}".encode()).decode()
            return Shown({"Authorization": f"Basic {packed}"}, (packed, password))
        token = _secret(self.bearer_token, self.bearer_token_file)
        if token:
            return Shown({"Authorization": f"Bearer {token}"}, (token,))
        value = _secret(self.value, self.value_file)
        return Shown({self.header: value}, (value, value.rpartition(" ")[2]))


class HttpCredentials:
    """Implements ports_offline.Credentials: the daemon's `credentials` by name."""

    def __init__(self, known: Mapping[str, CredentialSettings]) -> None:
        self._known = known

    def of(self, name: str, url: str) -> Shown:
        """Give what is shown to this address. Raises Refused."""
        settings = self._known.get(name)
        if settings is None:
            near = nearest(name, sorted(self._known))
            there = f"did you mean {near}?" if near else f"configured: {', '.join(sorted(self._known)) or 'none'}"
            raise Refused(f"no credential is called {name!r} in the daemon's configuration ({there})")
        host = urlsplit(url).hostname or ""
        if not any(fnmatchcase(host, pattern.lower()) for pattern in settings.hosts):
            raise Refused(f"credential {name!r} is not meant for {host}: its hosts are {', '.join(settings.hosts)}")
        try:
            return settings.shown()
        except Refused as no:
            raise Refused(f"credential {name!r}: {no}") from None


def _secret(value: SecretStr | None, file: Path | None) -> str:
    if file is None:
        return value.get_secret_value() if value is not None else ""
    try:
        return check_header(SecretStr(_read(file))).get_secret_value()
    except ValueError:
        raise Refused(f"{file} holds a character that no header can carry: plain ASCII in one line is expected") from None


def _read(file: Path) -> str:
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    if not found:
        raise Refused(f"{file} is empty")
    return found

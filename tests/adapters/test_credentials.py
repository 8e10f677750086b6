"""What tests and hooks of plans show to services: read for each request, only to the right hosts, and never seen again."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.adapters.credentials import CredentialSettings, HttpCredentials
from rollout.core.errors import Refused
from rollout.settings import CredentialEntry
from tests.adapters.stub import Say, stub
from tests.adapters.test_offline_work import Desk


def asking(url: str, credential: str = "qa", **settings: Any) -> Desk:  # noqa: ANN401 - the credential's own keys
    known = HttpCredentials({"qa": CredentialSettings.model_validate({"hosts": ["127.0.0.1"], **settings})})
    request = {"url": url, "credential": credential, "headers": {"X-Shop": "1"}}
    return Desk(known, tests=[{"name": "health", "http": request, "timeout": "5s", "retries": 0}])


@pytest.mark.parametrize(
    ("settings", "header", "secrets"),
    [
        ({"bearer_token": "hunter2"}, ("authorization", "Bearer hunter2"), ["hunter2"]),
        ({"username": "qa", "password": "hunter2"}, ("authorization", "Basic cWE6aHVudGVyMg=="), ["hunter2", "cWE6aHVudGVyMg=="]),
        ({"header": "X-API-KEY", "value": "hunter2"}, ("x-api-key", "hunter2"), ["hunter2"]),
        ({"header": "Authorization", "value": "Token hunter2"}, ("authorization", "Token hunter2"), ["hunter2"]),
    ],
)
def test_a_credential_is_shown_to_the_service_and_taken_out_of_what_it_answers(
    settings: dict[str, Any], header: tuple[str, str], secrets: list[str]
) -> None:
    with stub(lambda seen: Say(200, {**seen.headers, "said": settings.get("password", "")})) as server:
        result = asking(server.url, **settings).test()
        assert server.seen[0].headers[header[0]] == header[1]
        assert server.seen[0].headers["x-shop"] == "1"
    assert result.ok
    assert "***" in result.facts["output"]
    for secret in secrets:
        assert secret not in repr(result)


def test_a_credential_takes_the_place_of_a_header_that_the_plan_calls_the_same() -> None:
    with stub(Say(200)) as server:
        asking(server.url, header="x-sHOP", value="hunter2").test()
        assert server.seen[0].headers["x-shop"] == "hunter2"


def test_a_credential_of_a_file_is_read_again_for_every_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-hunter2\n")
    with stub(Say(200)) as server:
        desk = asking(server.url, bearer_token_file=file)
        desk.test()
        file.write_text("second-hunter2")
        desk.test()
        assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer first-hunter2", "Bearer second-hunter2"]


def test_a_password_that_was_changed_in_its_file_is_shown_at_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    entry = CredentialEntry.model_validate({"name": "qa", "hosts": ["127.0.0.1"], "username": "qa", "passwordFile": str(file)})
    file.write_text("first-hunter2\n")
    known = HttpCredentials({"qa": entry.build(CredentialSettings)})
    for word in ("first-hunter2", "second-hunter2"):
        file.write_text(word)
        shown = known.of("qa", "http://127.0.0.1/")
        assert shown.headers == {"Authorization": "Basic " + base64.b64encode(f"qa:{word}".encode()).decode()}
        assert word not in shown.masked(word)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"hunter2\nX: y", "no header can carry"), (b"\xff", "not UTF-8")],
)
def test_a_credential_whose_file_cannot_be_used_is_asked_of_nobody(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with stub(Say(200)) as server:
        desk = asking(server.url, header="X-API-KEY", value_file=file)
        with pytest.raises(Refused, match=words) as told:
            desk.test()
        assert server.seen == []
    assert "credential 'qa'" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_credential_is_shown_only_to_the_hosts_that_it_is_meant_for() -> None:
    desk = asking("http://elsewhere.example/", header="X-API-KEY", value="hunter2")
    with pytest.raises(Refused, match=r"credential 'qa' is not meant for elsewhere\.example: its hosts are 127\.0\.0\.1"):
        desk.test()


def test_a_credential_that_nobody_has_configured_is_named_with_those_that_there_are() -> None:
    with pytest.raises(Refused, match=r"no credential is called 'qq' in the daemon's configuration \(configured: qa\)"):
        asking("http://127.0.0.1/", credential="qq", header="X-API-KEY", value="hunter2").test()
    with pytest.raises(Refused, match="no credential 'qa' is configured"):
        Desk(tests=[{"name": "health", "http": {"url": "http://x/", "credential": "qa"}, "timeout": "5s"}]).test()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bearer_token": "hunter2", "username": "qa", "password": "hunter2"},
        {"header": "X-API-KEY"},
        {"value": "hunter2"},
        {"username": "qa"},
        {"password": "hunter2", "bearer_token": "hunter2"},
        {"username": "qa", "password": "hunter2", "password_file": "/run/secrets/qa"},
        {"password_file": "/run/secrets/qa", "bearer_token": "hunter2"},
        {"bearer_token": "hunter2", "hosts": []},
        {"bearer_token": "hunter2\n"},
    ],
)
def test_a_credential_that_is_not_one_thing_is_refused_without_repeating_it(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as told:
        CredentialSettings.model_validate({"hosts": ["*"], **settings})
    assert "hunter2" not in str(told.value)

"""The daemon's configuration: read once and completely, the environment on top, secrets never shown."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st
from pydantic import SecretStr

from rollout.adapters.kubernetes_api import ClusterSettings
from rollout.adapters.prometheus import PrometheusSettings
from rollout.adapters.slack import SlackSettings
from rollout.core.errors import Problem, Refused
from rollout.core.history import NoticeKind
from rollout.settings import Settings
from rollout.settings_entries import Models
from rollout.settings_file import load_settings, parse_settings

MODELS: Models = {
    "clusters": {"kubernetes": ClusterSettings},
    "backends": {"prometheus": PrometheusSettings},
    "channels": {"slack": SlackSettings},
}
EXAMPLE = Path(__file__).parent.parent / "config" / "rollout.yaml"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "type", "url", "host", "xFile", "aEnv"]), inner, max_size=4)
    ),
    max_leaves=10,
)
SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - made up, to be looked for in messages


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ROLLOUT_")]:
        monkeypatch.delenv(name)


def parse(text: str) -> Settings:
    return parse_settings(text.encode(), "rollout.yaml", MODELS)


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as caught:
        parse(text)
    for problem in caught.value.problems:
        assert SECRET not in problem.shown()
    return caught.value.problems


def test_the_example_says_what_the_defaults_are() -> None:
    example, defaults = load_settings(EXAMPLE, MODELS), Settings()
    assert example.database.address == defaults.database.address
    for section in ("http", "policy", "plans", "log", "timing", "retention", "gateways", "channels"):
        assert getattr(example, section) == getattr(defaults, section), section
    assert [cluster.name for cluster in example.clusters] == [cluster.name for cluster in defaults.clusters]
    assert example.backends[0].build(PrometheusSettings).url == "http://prometheus.monitoring:9090"


def test_the_example_names_every_key(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for field in Settings.model_fields.values():
        for inner in getattr(field.annotation, "model_fields", {}).values():
            assert f"{inner.alias}:" in text, inner.alias


def test_an_empty_file_and_no_file_are_the_defaults() -> None:
    assert (
        parse_settings(b"", "rollout.yaml") == parse_settings(b"# nothing\n", "rollout.yaml") == load_settings(None) == Settings()
    )


def test_entries_are_built_with_the_settings_class_of_their_adapter(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n", encoding="utf-8")
    settings = parse(
        "backends:\n"
        f"  - {{name: metrics, type: prometheus, url: 'http://p:9090/', username: me, passwordFile: {tmp_path}/password,\n"
        "     connectTimeout: 2s, headers: {X-Scope-OrgID: shop}}\n"
    )
    built: PrometheusSettings = settings.backends[0].build(PrometheusSettings)
    assert built.password == SecretStr(SECRET)
    assert (built.connect_timeout, built.url, built.headers["X-Scope-OrgID"].get_secret_value()) == (
        timedelta(seconds=2),
        "http://p:9090",
        "shop",
    )


def test_a_channel_chooses_kinds_of_notice() -> None:
    (channel,) = parse(
        "channels: [{name: ops, type: slack, url: 'http://chat/x', events: [held, failed]}]".replace("failed", "gate")
    ).channels
    assert channel.events == (NoticeKind.HELD, NoticeKind.GATE)
    assert channel.build(SlackSettings).type == "slack"


def test_all_problems_are_told_at_once_in_the_terms_of_the_file() -> None:
    found = problems_of(
        "databse: x\n"
        "http: {prot: 1}\n"
        "clusters: [{name: default, kubconfig: x}]\n"
        "backends:\n"
        "  - {name: p, type: promtheus}\n"
        f"  - {{name: p, type: prometheus, url: 'http://u:{SECRET}@x', timeout: 3, passwordFile: /nope, usernme: x}}\n"
        f"  - {{name: q, type: prometheus, url: 'http://x', password: {SECRET}, passwordEnv: NIX, headers: [{SECRET}]}}\n"
        f"channels: [{{name: c, type: slack, url: {SECRET}}}, {{name: d, type: slack, url: [{SECRET}]}}]\n"
        "policy: {minimumSoak: 24, minimumSoak: 25h}\n"
    )
    assert [(p.line, p.key) for p in found] == [
        (1, "databse"),
        (2, "http.prot"),
        (3, "clusters[0].kubconfig"),
        (5, "backends[0].type"),
        (6, "backends[1].name"),
        (6, "backends[1].url"),
        (6, "backends[1].timeout"),
        (6, "backends[1].passwordFile"),
        (6, "backends[1].usernme"),
        (7, "backends[2].passwordEnv"),
        (7, "backends[2].headers"),
        (8, "channels[0].url"),
        (8, "channels[1].url"),
        (9, "policy.minimumSoak"),
        (9, "policy.minimumSoak"),
    ]
    remedies = {p.key: p.remedy for p in found}
    assert "did you mean kubeconfig?" in remedies["clusters[0].kubconfig"]
    assert "did you mean prometheus?" in remedies["backends[0].type"]
    assert "did you mean username?" in remedies["backends[1].usernme"]
    assert "passwordFile" in remedies["backends[1].usernme"]


def test_what_cannot_be_read_hides_nothing_that_can() -> None:
    found = problems_of(
        "http: {port: 99999, tokns: 1}\n"
        "timing: {lookEvery: 60s, longestGap: 50s, lease: x}\n"
        "backends: [{name: p, typ: prometheus}, {type: prometheus}, {name: p, type: prometheus, url: 'http://p'}]\n"
        "channels: [{name: ops, type: slack, events: [foo]}, {name: ops, type: [], url: 'http://chat/x'}]\n"
        "policy: {maximumInitialShare: 0%, freezeWindows: [{name: x, timezone: Nowhere}, {name: y}]}\n"
        "gateways: [{name: a, type: apisix, cluster: wset}]\n"
        "clusters: [{name: west}, {name: 7, kubconfig: x}]\n"
    )
    assert [(p.line, p.key) for p in found] == [
        (1, "http.port"),
        (1, "http.tokns"),
        (2, "timing.longestGap"),
        (2, "timing.lease"),
        (3, "backends[0].type"),
        (3, "backends[1].name"),
        (3, "backends[1].url"),
        (3, "backends[2].name"),
        (4, "channels[0].url"),
        (4, "channels[0].events[0]"),
        (4, "channels[1].name"),
        (4, "channels[1].type"),
        (5, "policy.maximumInitialShare"),
        (5, "policy.freezeWindows[0]"),
        (5, "policy.freezeWindows[0].timezone"),
        (5, "policy.freezeWindows[1]"),
        (6, "gateways[0].cluster"),
        (7, "clusters[1].kubconfig"),
    ]
    assert "did you mean west?" in next(p.remedy for p in found if p.key == "gateways[0].cluster")


def test_nobody_is_told_that_two_keys_contradict_each_other_where_one_of_them_cannot_be_read() -> None:
    assert [p.key for p in problems_of("timing: {lookEvery: 600, longestGap: 30s}")] == ["timing.lookEvery"]


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_DATABASE", "postgresql://db/rollout")
    monkeypatch.setenv("ROLLOUT_HTTP__PORT", "9090")
    monkeypatch.setenv("ROLLOUT_POLICY__MINIMUM_SOAK", "12h")
    monkeypatch.setenv("ROLLOUT_POLICY__ALLOWED_NAMESPACES", '["shop-*"]')
    monkeypatch.setenv("ROLLOUT_LOG__LEVEL", "debug")
    settings = parse("database: {url: 'sqlite:///x.db'}\nhttp: {port: 1, host: localhost}\npolicy: {minimumInterval: 7h}\n")
    assert settings.database.address == "postgresql://db/rollout"
    assert (settings.http.port, settings.http.host, settings.log.level) == (9090, "localhost", "debug")
    assert (settings.policy.minimum_soak, settings.policy.minimum_interval) == (timedelta(hours=12), timedelta(hours=7))
    assert settings.policy.allowed_namespaces == ("shop-*",)


def test_the_database_may_be_given_one_level_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_DATABASE__URL", "sqlite:////data/rollout.db")
    assert parse("").database.address == "sqlite:////data/rollout.db"


def test_a_variable_that_is_empty_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_DATABASE", "")
    assert parse_settings(b"", "").database == Settings().database


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_HTTP__PORT", "x")
    monkeypatch.setenv("ROLLOUT_DATABSE__URL", "x")
    monkeypatch.setenv("ROLLOUT_HTTP__PROT", "1")
    assert {p.file: p.key for p in problems_of("http: {host: localhost}")} == {
        "environment variable ROLLOUT_HTTP__PORT": "http.port",
        "environment variable ROLLOUT_DATABSE__URL": "",
        "environment variable ROLLOUT_HTTP__PROT": "http.prot",
    }


def test_variables_that_kubernetes_sets_for_a_service_called_rollout_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("ROLLOUT_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("ROLLOUT_PORT_8080_TCP_ADDR", "10.0.0.1")
    assert parse("") == Settings()


def test_secrets_come_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(f"postgresql://u:{SECRET}@db/rollout\n", encoding="utf-8")
    monkeypatch.setenv("CHAT_URL", f"http://chat/{SECRET}")
    settings = parse(f"database: {{urlFile: {tmp_path}/url}}\nchannels: [{{name: ops, type: slack, urlEnv: CHAT_URL}}]\n")
    assert SECRET in settings.database.address
    assert SECRET in settings.channels[0].build(SlackSettings).url.get_secret_value()
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.channels[0])


def test_a_secret_that_cannot_be_read_is_one_problem_and_not_two() -> None:
    found = problems_of("channels: [{name: ops, type: slack, urlFile: /nope}, {name: two, type: slack, urlEnv: NIX}]")
    assert [p.key for p in found] == ["channels[0].urlFile", "channels[1].urlEnv"]


def test_a_secret_that_vanished_after_the_reading_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///x.db", encoding="utf-8")
    settings = parse(f"database: {{urlFile: {tmp_path}/url}}")
    (tmp_path / "url").unlink()
    with pytest.raises(Refused, match=r"database\.urlFile"):
        assert settings.database.address


@pytest.mark.parametrize("tokens", ["[]", f"[{{name: a, token: {SECRET}, role: king}}]", "[{name: a, tokenFile: /nope}]", "7"])
def test_keys_of_earlier_files_that_do_nothing_are_named_and_not_read(tokens: str) -> None:
    settings = parse(f"http: {{host: 0.0.0.0, tokens: {tokens}, publicUrl: 'http://rollout'}}")
    assert list(settings.http.without_effect()) == ["http.tokens", "http.publicUrl"]
    assert settings.http.host == "0.0.0.0"  # noqa: S104 - nothing is served there that a stranger may not see
    assert SECRET not in repr(settings)
    assert not list(Settings().http.without_effect())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("database: {urlFile: /nope}", "database.urlFile"),
        ("database: {url: x, urlFile: y}", "database.urlFile"),
        ("database: [x]", "database"),
        ("http: {port: 70000}", "http.port"),
        ("clusters: []", "clusters"),
        ("clusters: x", "clusters"),
        ("backends: [x]", "backends[0]"),
        ("backends: [{type: prometheus, url: 'http://p'}]", "backends[0].name"),
        ("backends: [{name: x}]", "backends[0].type"),
        ("backends: [{name: x, type: prometheus}]", "backends[0].url"),
        ("timing: {longestGap: 30s}", "timing.longestGap"),
        ("policy: {maximumInitialShare: 0%}", "policy.maximumInitialShare"),
        ("policy: {freezeWindows: [{name: x}]}", "policy.freezeWindows[0]"),
        ("plans: {folder: ''}", "plans.folder"),
        ("log: {level: loud}", "log.level"),
        ("retention: {keep: forever}", "retention.keep"),
        ("- a", ""),
    ],
)
def test_a_wrong_value_is_named_by_its_key(text: str, key: str) -> None:
    assert [p.key for p in problems_of(text)] == [key]


def test_broken_yaml_shows_no_line_of_a_file_that_may_hold_secrets() -> None:
    (problem,) = problems_of(f"backends:\n  - password: '{SECRET}\n")
    assert problem.excerpt == ""


@limited(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "other"]), json_values, max_size=5))
def test_no_value_under_a_known_section_gives_a_traceback(document: dict[str, object]) -> None:
    try:
        parse(json.dumps(document))
    except Refused as refused:
        assert refused.problems  # noqa: PT017 - not raising is right too

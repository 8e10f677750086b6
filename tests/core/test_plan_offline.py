"""The offline plan: what is refused before anybody looks at the world."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.core.errors import Refused
from rollout.core.gate import CONSUMER_RESTRICTION, IP_RESTRICTION, PlaceKind
from rollout.core.plan import OfflinePlan, check_document, plan_of, stored_plan
from rollout.core.plan_window import local_to_utc
from rollout.core.target import Target

M = timedelta(minutes=1)
PROBES = {"outside": [{"url": "https://shop.example.com/healthz"}]}
GATE: dict[str, Any] = {"route": {"id": "1"}, "allow": ["192.0.2.0/24"], "probes": PROBES}
TEST = {"name": "health", "http": {"url": "http://orders/healthz"}, "timeout": "60s"}
WINDOW = {"startAt": "2026-12-05 02:00", "timezone": "Asia/Shanghai", "duration": "2h"}
SCHEMA = {
    "schemaChange": True,
    "backup": {"template": "postgresql-backup", "expected": "20m"},
    "migrate": {"template": "postgresql-migrate", "expected": "10m"},
    "restore": {"template": "postgresql-restore", "expected": "30m"},
}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}


def document(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any value may be tried
    """Build a good plan with these keys in its spec; None leaves a key out."""
    base: dict[str, Any] = {
        "target": {"namespace": "shop", "stable": "orders"},
        "image": "orders:3.0",
        "window": WINDOW,
        "gate": GATE,
        "tests": [TEST],
    }
    base.update(spec)
    head = {"apiVersion": "rollout/v1", "kind": "Offline", "metadata": {"name": "orders"}}
    return {**head, "spec": {key: value for key, value in base.items() if value is not None}}


def offline(**spec: Any) -> OfflinePlan:  # noqa: ANN401 - as document
    plan = plan_of(document(**spec))
    assert isinstance(plan, OfflinePlan)
    return plan


def complaints(**spec: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - as document
    plan, located = check_document(document(**spec))
    assert plan is None
    return [(one.problem.key, one.problem.message) for one in located]


def test_the_window_is_local_time_in_its_zone() -> None:
    plan = offline()
    assert plan.spec.window.starts_at == datetime(2026, 12, 4, 18, 0, tzinfo=UTC)
    assert plan.spec.window.ends_at == datetime(2026, 12, 4, 20, 0, tzinfo=UTC)


def test_announcements_are_counted_back_from_the_start() -> None:
    offsets = offline(announce={"offsets": ["10m", "72h"]}).announcements
    assert offsets == ((72 * 60 * M, datetime(2026, 12, 1, 18, 0, tzinfo=UTC)), (10 * M, datetime(2026, 12, 4, 17, 50, tzinfo=UTC)))


def test_the_last_moment_for_a_rollback_leaves_time_for_restore_tests_and_margin() -> None:
    plan = offline(**SCHEMA)
    end = plan.spec.window.ends_at
    assert plan.latest_rollback_start(None) == end - (30 + 1 + 15) * M
    assert plan.latest_rollback_start(45 * M) == end - (45 + 1 + 15) * M
    assert plan.latest_rollback_start(None, extended=60 * M) == end + 60 * M - 46 * M


def test_a_rollback_that_cannot_fit_is_refused_with_the_arithmetic() -> None:
    ((key, message),) = complaints(**SCHEMA, window={**WINDOW, "duration": "1h"})
    assert key == "spec.window.duration"
    assert "backup 20m + migrate 10m + tests 1m + restore 30m + tests again 1m + margin 15m = 1h17m" in message


def test_a_restore_that_took_longer_the_last_time_counts() -> None:
    plan = offline(**SCHEMA)
    now = plan.spec.window.starts_at - timedelta(hours=1)
    assert plan.problems_at(now, earlier_restore=40 * M) == ()
    (problem,) = plan.problems_at(now, earlier_restore=90 * M)
    assert problem.key == "spec.window.duration"


def test_a_restore_of_which_nobody_knows_how_long_it_takes_is_refused() -> None:
    plan = offline(**{**SCHEMA, "restore": "postgresql-restore"})
    now = plan.spec.window.starts_at - timedelta(hours=1)
    assert [p.key for p in plan.problems_at(now)] == ["spec.restore.expected"]
    assert plan.problems_at(now, earlier_restore=20 * M) == ()


def test_a_window_in_the_past_is_refused_once_its_grace_is_over() -> None:
    plan = offline()
    start = plan.spec.window.starts_at
    assert plan.problems_at(start + 15 * M) == ()
    assert [p.key for p in plan.problems_at(start + 16 * M)] == ["spec.window.startAt"]


@pytest.mark.parametrize(
    ("local", "zone", "words"),
    [
        ("2026-10-25 02:30", "Europe/Berlin", "happens twice in Europe/Berlin, at 00:30 and 01:30 UTC"),
        ("2027-03-28 02:30", "Europe/Berlin", "does not happen in Europe/Berlin"),
        ("2026-11-01 01:30", "America/New_York", "happens twice"),
        ("2027-03-14 02:00", "America/New_York", "does not happen"),
        ("2027-04-04 01:45", "Australia/Lord_Howe", "happens twice"),
    ],
)
def test_a_local_time_that_is_no_one_moment_is_refused(local: str, zone: str, words: str) -> None:
    ((key, message),) = complaints(window={"startAt": local, "timezone": zone, "duration": "2h"})
    assert key == "spec.window.startAt"
    assert words in message


def test_local_times_beside_the_change_of_clocks_are_moments() -> None:
    assert local_to_utc(datetime(2026, 10, 25, 3, 0), "Europe/Berlin") == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)  # noqa: DTZ001 - local
    assert local_to_utc(datetime(2027, 3, 28, 3, 0), "Europe/Berlin") == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)  # noqa: DTZ001 - local


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        (["0.0.0.0/0"], "every IPv4"),
        (["::/0"], "every IPv6"),
        (["0.0.0.0/1", "128.0.0.0/1"], "every IPv4"),
        (["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2", "10.0.0.1"], "every IPv4"),
        (["::/1", "8000::/1"], "every IPv6"),
        ([], "nobody"),
        (["224.0.0.1"], "no client"),
        (["office"], "neither an address"),
        (["10.0.0.0/33"], "neither an address"),
    ],
)
def test_an_allow_list_for_everybody_or_nobody_is_refused(allow: list[str], words: str) -> None:
    ((key, message),) = complaints(gate={**GATE, "allow": allow})
    assert key == "spec.gate.allow"
    assert words in message


def test_a_gate_by_address_and_one_by_consumer() -> None:
    by_address = offline().spec.gate
    assert (by_address.target.kind, by_address.target.id, by_address.config.plugin) == (PlaceKind.ROUTE, "1", IP_RESTRICTION)
    by_consumer = offline(gate={"service": {"name": "s"}, "allowConsumers": ["qa"], "probes": PROBES}).spec.gate
    assert (by_consumer.target.kind, by_consumer.config.plugin) == (PlaceKind.SERVICE, CONSUMER_RESTRICTION)
    assert by_consumer.config.allow == ("qa",)
    in_cluster = offline(gate={**GATE, "via": "ApisixRoute", "route": {"namespace": "shop", "name": "r", "rule": "api"}}).spec.gate
    assert (in_cluster.target.kind, in_cluster.target.rule) == (PlaceKind.APISIX_ROUTE, "api")
    assert [v.allowed for v in in_cluster.vantages] == [False]


@pytest.mark.parametrize(
    ("gate", "key"),
    [
        ({"allowConsumers": ["qa"]}, "spec.gate.allowConsumers"),
        ({"service": {"id": "2"}}, "spec.gate.service"),
        ({"route": None}, "spec.gate"),
        ({"route": {"id": "1", "name": "x"}}, "spec.gate.route"),
        ({"route": {}}, "spec.gate.route"),
        ({"via": "ApisixRoute", "route": None, "service": {"name": "x"}}, "spec.gate.service"),
        ({"via": "ApisixRoute", "route": {"id": "1"}}, "spec.gate.route"),
        ({"via": "ApisixRout"}, "spec.gate.via"),
        ({"responseCode": 500}, "spec.gate.responseCode"),
        ({"message": "a\nb"}, "spec.gate.message"),
        ({"probes": {}}, "spec.gate.probes.outside"),
        ({"probes": {"outside": [{"url": "ftp://x"}]}}, "spec.gate.probes.outside[0].url"),
        ({"probes": {"outside": [{"url": "http://x:0/"}]}}, "spec.gate.probes.outside[0].url"),
        ({"probes": {"outside": [{"url": "https://u:p@x/"}]}}, "spec.gate.probes.outside[0].url"),
    ],
)
def test_a_gate_that_is_not_one_is_refused(gate: dict[str, Any], key: str) -> None:
    merged = {k: v for k, v in {**GATE, **gate}.items() if v is not None}
    assert [k for k, _ in complaints(gate=merged)] == [key]


def test_an_unproven_gate_must_be_accepted() -> None:
    assert offline(gate={**GATE, "probes": {}}, acceptUnproven=True).spec.accept_unproven


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({"schemaChange": True}, ["spec.backup", "spec.restore"]),
        ({**SCHEMA, "restore": None}, ["spec.restore"]),
        ({**SCHEMA, "stop": False}, ["spec.stop"]),
        ({"migrate": "postgresql-migrate"}, ["spec.migrate"]),
        ({"restore": "postgresql-restore"}, ["spec.restore"]),
        ({"tests": []}, ["spec.tests"]),
        ({"tests": [TEST, TEST]}, ["spec.tests"]),
        ({"tests": [{"name": "x"}]}, ["spec.tests[0]"]),
        ({"tests": [{**TEST, "command": ["x"]}]}, ["spec.tests[0].command"]),
        ({"tests": [{"name": "x", "command": "rm -rf /"}]}, ["spec.tests[0].command"]),
        ({"tests": [{"name": "x", "http": {"url": "http://a", "status": [99]}}]}, ["spec.tests[0].http.status[0]"]),
        ({"tests": [{"name": "x", "http": {"url": "http://a:99999/"}}]}, ["spec.tests[0].http.url"]),
        ({"tests": [{"name": "x", "http": {"url": "http://[::1/"}}]}, ["spec.tests[0].http.url"]),
        ({"tests": [{"name": "x", "http": {"url": "http://a", "headers": {"X Y": "1"}}}]}, ["spec.tests[0].http.headers"]),
        ({"tests": [{"name": "x", "http": {"url": "http://a", "headers": {"X": "Ω"}}}]}, ["spec.tests[0].http.headers"]),
        ({"tests": [{**TEST, "severity": "major"}]}, ["spec.tests[0].severity"]),
        ({"announce": {"offsets": ["1h", "60m"]}}, ["spec.announce.offsets"]),
        ({"target": None}, ["spec.target"]),
        ({"targets": [{"namespace": "a", "stable": "b"}]}, ["spec.targets"]),
        ({"image": None}, ["spec.image"]),
        ({"target": None, "image": None, "targets": [{"namespace": "a", "stable": "b"}]}, ["spec.targets[0].image"]),
        ({"target": None, "targets": [{"namespace": "a", "stable": "b"}] * 2}, ["spec.targets"]),
        ({"window": {**WINDOW, "startGrace": "2h"}}, ["spec.window.startGrace"]),
        ({"window": {**WINDOW, "startGrace": "0s"}}, ["spec.window.startGrace"]),
        ({"window": {**WINDOW, "startGrace": "59s"}}, ["spec.window.startGrace"]),
        ({"window": None}, ["spec.window"]),
        ({"backup": {"template": "x", "manifest": JOB}}, ["spec.backup"]),
        ({"backup": {"template": "x", "expected": "2h"}}, ["spec.backup.expected", "spec.window.duration"]),
        ({"backup": {"manifest": {"kind": "Pod"}}}, ["spec.backup.manifest"]),
        ({"backup": {"manifest": {**JOB, "spec": {}}}}, ["spec.backup.manifest"]),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _ in complaints(**spec)] == keys


def test_several_targets_keep_their_order_and_may_have_images_of_their_own() -> None:
    plan = offline(target=None, targets=[{"namespace": "a", "stable": "x", "image": "x:1"}, {"namespace": "a", "stable": "y"}])
    assert plan.targets == (Target("default", "a", "x", "x"), Target("default", "a", "y", "y"))
    assert [plan.image_of(target) for target in plan.targets] == ["x:1", "orders:3.0"]
    assert plan.target == plan.targets[0]
    assert plan.images == (("spec.image", "orders:3.0"), ("spec.targets[0].image", "x:1"))


def test_a_stored_offline_plan_is_read_back_as_it_was() -> None:
    plan = offline(
        **SCHEMA, quiesce={"hooks": [{"name": "drain", "job": {"manifest": JOB}}]}, impact={"dependants": ["settlement"]}
    )
    assert plan_of(json.loads(plan.canonical())) == plan
    assert plan_of(json.loads(plan.canonical())).hash() == plan.hash()


def test_a_job_among_the_tests_may_take_as_long_as_its_deadline() -> None:
    plan = offline(tests=[TEST, {"name": "smoke", "job": {"manifest": JOB, "deadline": "10m"}}])
    assert plan.spec.test_time == 11 * M


def job_with(parameters: dict[str, str] | None = None, env: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    container = {"name": "a", "image": "a:1", "env": env or []}
    pod = {"containers": [container]}
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}
    return {"manifest": manifest, "parameters": parameters or {}}


@pytest.mark.parametrize(
    ("key", "job"),
    [
        ("PGPASSWORD", job_with({"PGPASSWORD": "x"})),
        ("MYSQL_PWD", job_with({"MYSQL_PWD": "x"})),
        ("ADMIN_TOKEN", job_with({"ADMIN_TOKEN": "x"})),
        ("api_key", job_with(env=[{"name": "api_key", "value": "x"}])),
    ],
)
def test_a_password_in_a_plan_is_refused_because_plans_are_stored_and_shown(key: str, job: dict[str, Any]) -> None:
    found = complaints(backup=job)
    assert [words for _, words in found] == [f"{key} looks like a secret, and a plan is stored, shown and logged"]


@pytest.mark.parametrize(
    "job",
    [
        job_with({"SECRET": "orders-db", "DATABASE": "orders", "TOKENS": "12"}),
        job_with(env=[{"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "orders-db", "key": "password"}}}]),
        job_with(env=[{"name": "PGPASSWORD", "value": ""}]),
        job_with({"PGPASSWORD_FILE": "/run/secrets/password"}),
    ],
)
def test_naming_where_a_secret_is_found_is_no_secret(job: dict[str, Any]) -> None:
    assert offline(backup=job).spec.backup is not None


@pytest.mark.parametrize("metadata", ["shop", ["shop"], {"namespace": 7}, {"namespace": None}])
def test_a_job_with_metadata_that_is_none_is_refused(metadata: object) -> None:
    job = job_with()
    job["manifest"]["metadata"] = metadata
    assert complaints(backup=job) == [("spec.backup.manifest.metadata", "is no metadata of a Job")]


def asks(**http: Any) -> dict[str, Any]:  # noqa: ANN401 - keys of an HTTP request
    return {"name": "asks", "http": {"url": "https://shop.example.com/orders", **http}, "timeout": "60s"}


@pytest.mark.parametrize(
    ("test", "key", "name"),
    [
        *(
            (asks(headers={name: "geheim"}), f"http.headers.{name}", name)
            for name in ("Authorization", "cookie", "X-API-KEY", "apikey", "Proxy-Authorization", "X-Auth-Token", "Private-Token")
        ),
        (asks(headers={"X-Forwarded-Auth": "Bearer geheimgeheim"}), "http.headers.X-Forwarded-Auth", "X-Forwarded-Auth"),
        (asks(url="https://shop.example.com/?a=1&access_token=geheim"), "http.url", "access_token"),
        (asks(method="POST", body='{"user": "qa", "password": "geheim"}'), "http.body", "password"),
        (asks(method="POST", body="user=qa&client_secret=geheim"), "http.body", "client_secret"),
        ({"name": "asks", "command": ["curl", "-H", "X-API-KEY: geheim", "http://orders/"]}, "command", "X-API-KEY"),
        (
            {"name": "asks", "command": ["sh", "-c", "curl -H 'Authorization: Bearer geheimgeheim' x"]},
            "command",
            "what follows Bearer",
        ),
        ({"name": "asks", "command": ["check", "--password=geheim"]}, "command", "--password"),
    ],
)
@pytest.mark.parametrize("place", ["tests[0]", "quiesce.hooks[0]"])
def test_a_credential_in_a_test_or_hook_is_refused_without_repeating_it(
    test: dict[str, Any], key: str, name: str, place: str
) -> None:
    spec: dict[str, Any] = {"tests": [test]} if place == "tests[0]" else {"quiesce": {"hooks": [test]}}
    plan, ((located),) = check_document(document(**spec))
    assert plan is None
    assert located.problem.key == f"spec.{place}.{key}"
    assert located.problem.message.startswith(f"{name} ")
    assert "a plan is stored, shown and logged" in located.problem.message
    assert "credential" in located.problem.remedy or "Secret" in located.problem.remedy
    assert "geheim" not in f"{located.problem}"


def test_a_credential_in_the_address_of_a_probe_is_refused() -> None:
    probes = {"outside": [{"url": "https://shop.example.com/orders?apikey=geheim"}]}
    ((key, words),) = complaints(gate={**GATE, "probes": probes})
    assert key == "spec.gate.probes.outside[0].url"
    assert "geheim" not in words


@pytest.mark.parametrize(
    "test",
    [
        asks(credential="qa"),
        asks(headers={"Accept": "application/json", "Idempotency-Key": "7", "X-Authorized-By": "qa"}),
        asks(url="https://shop.example.com/?key=7&tokens=2&token="),
        asks(method="POST", body='{"tokens": 3, "password": "", "note": "token"}'),
        {"name": "asks", "command": ["sh", "-c", 'curl -H "Authorization: Bearer $(cat /run/secrets/token)" http://orders/']},
        {"name": "asks", "command": ["sh", "-c", "echo basic smoketests; echo bearer authentication"]},
        {"name": "asks", "command": ["check", "--password-file=/run/secrets/qa", "--token", "Accept: text/plain"]},
    ],
)
def test_what_only_names_a_credential_is_accepted(test: dict[str, Any]) -> None:
    assert offline(tests=[test]).spec.tests[0].name == "asks"


def test_a_token_in_the_arguments_of_a_job_is_refused() -> None:
    job = job_with()
    job["manifest"]["spec"]["template"]["spec"]["containers"][0]["args"] = ["-H", "Authorization: Bearer geheimgeheim"]
    assert complaints(backup=job) == [
        ("spec.backup.manifest", "Authorization looks like a secret, and a plan is stored, shown and logged")
    ]


@pytest.mark.parametrize("header", ["Authorization: Bearer $(TOKEN)", "Cookie: session=$(SESSION)", "X-API-KEY: $(KEY)"])
def test_a_header_whose_value_the_cluster_puts_in_from_a_secret_is_accepted_in_a_job(header: str) -> None:
    job = job_with(env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "qa", "key": "token"}}}])
    job["manifest"]["spec"]["template"]["spec"]["containers"][0]["args"] = ["-H", header]
    assert offline(backup=job).spec.backup is not None


def test_a_plan_with_a_credential_that_was_stored_once_is_read_again() -> None:
    stored = document(tests=[asks(headers={"Authorization": "Bearer x"})])
    assert stored_plan(stored).targets == offline().targets


def test_a_plan_without_the_new_key_keeps_its_identity() -> None:
    assert "credential" not in offline().canonical()


@pytest.mark.parametrize("quiesce", [{"hooks": [TEST]}, {"undo": [TEST]}, {"sessions": "postgresql-sessions"}])
def test_quiescing_where_nothing_is_stopped_is_refused_because_it_would_never_run(quiesce: dict[str, Any]) -> None:
    assert complaints(stop=False, quiesce=quiesce) == [("spec.quiesce", "nothing is stopped, so that it would never run")]


def test_a_plan_that_was_accepted_once_is_read_again_although_a_later_rule_would_refuse_it() -> None:
    document = offline(backup=job_with({"DATABASE": "orders"})).as_document()
    document["spec"]["backup"]["parameters"]["PGPASSWORD"] = "x"
    with pytest.raises(Refused):
        plan_of(document)
    assert stored_plan(document).targets == offline().targets


@pytest.mark.parametrize("document", [{}, [], None, {"apiVersion": "rollout/v1", "kind": "Offline", "spec": {}}])
def test_what_never_was_a_plan_is_refused_as_a_stored_one_too(document: object) -> None:
    with pytest.raises(Refused):
        stored_plan(document)

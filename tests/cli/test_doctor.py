"""`rollout doctor PLAN` on the sandbox: everything that would refuse or hold it, at once, also where somebody does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.cli import sandboxing
from rollout.core.errors import Refused
from rollout.sandbox.behaviour import Behaviour
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.serve import Sandbox
from rollout.settings_file import parse_settings
from rollout.wiring import MODELS, open_parts
from tests.cli.console import Answer, Terminal
from tests.cli.test_signals_test import PLAN, sandbox
from tests.simulation.days import manifests


@pytest.fixture(scope="module")
def usual() -> Iterator[Sandbox]:
    with sandbox(Behaviour(error_rate=0.02), [_probed(document) for document in manifests("nginx")]) as made:
        yield made


def _probed(document: dict[str, Any]) -> dict[str, Any]:
    if document["kind"] == "Deployment":
        for container in document["spec"]["template"]["spec"]["containers"]:
            container["readinessProbe"] = {"httpGet": {"path": "/", "port": 80}}
    return document


def asked(made: Sandbox, folder: Path, more: str = "", signals: str = "apisix-5xx, error-logs") -> Answer:
    sandboxing.write(made, folder)
    terminal = Terminal(folder)
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", signals) + more)
    return terminal.type("doctor", plan, ROLLOUT_CONFIG=str(folder / "rollout.yaml"))


def levels(answer: Answer) -> dict[str, str]:
    lines = [line for line in answer.out.splitlines() if not line.startswith(" ")]
    return {line.split(None, 1)[1].split(": ", 1)[0]: line.split(None, 1)[0] for line in lines}


def test_a_plan_that_may_start_is_fit_by_every_check(usual: Sandbox, tmp_path: Path) -> None:
    answer = asked(usual, tmp_path)

    assert answer.code == 0, answer.out
    assert "share: the first replica gets 9.1 % beside 10 ready ones" in answer.out
    assert "target: no other rollout is active on default/nginx" in answer.out
    assert "REFUSED" not in answer.out


def test_a_share_that_would_be_refused_is_said_before_anything_is_submitted(usual: Sandbox, tmp_path: Path) -> None:
    answer = asked(usual, tmp_path, "  initialShare: 5%\n")

    assert (answer.code, levels(answer)["share"]) == (2, "REFUSED")
    assert "1/11 = 9.1 % of the traffic, not under initialShare (5 %)" in answer.out


def test_a_target_that_another_rollout_has_is_named(usual: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(usual, tmp_path)
    terminal = Terminal(tmp_path)
    other = terminal.file("other.yaml", PLAN.replace("SIGNALS", "").replace("name: nginx}", "name: other}"))
    row = terminal.type("submit", other, "-o", "json", ROLLOUT_CONFIG=str(tmp_path / "rollout.yaml")).document
    answer = asked(usual, tmp_path)

    assert (answer.code, levels(answer)["target"]) == (2, "REFUSED")
    assert f"say `supersede: {row['id']}` in the plan" in answer.out


def test_a_backend_that_does_not_answer_is_one_line_and_the_others_are_still_checked(usual: Sandbox, tmp_path: Path) -> None:
    with usual.using() as world:
        world.faults.set("prometheus", Fault(Failing.UNAVAILABLE_503))
    try:
        answer = asked(usual, tmp_path)
    finally:
        with usual.using() as world:
            world.faults.clear()
    found = levels(answer)

    assert answer.code == 2
    assert (found["signal apisix-5xx"], found["signal error-logs"]) == ("REFUSED", "ok")


@pytest.mark.parametrize(
    ("failing", "backend", "remedy"),
    [
        (Failing.REFUSED_401, "prometheus", "give it credentials that it accepts"),
        (Failing.REFUSED_401, "elasticsearch", "give it credentials that it accepts"),
        (Failing.HTML, "prometheus", "is the Prometheus and that it can be reached"),
        (Failing.REFUSED_401, "kubernetes", "check the credentials"),
        (Failing.ERROR_500, "kubernetes", "look at the API server"),
    ],
)
def test_a_remedy_is_about_credentials_only_where_they_are_what_is_wrong(
    usual: Sandbox, tmp_path: Path, failing: Failing, backend: str, remedy: str
) -> None:
    with usual.using() as world:
        world.faults.set(backend, Fault(failing))
    try:
        lines = asked(usual, tmp_path).out.splitlines()
    finally:
        with usual.using() as world:
            world.faults.clear()
    name = "cluster default" if backend == "kubernetes" else f"backend {backend}"
    (at,) = (number for number, line in enumerate(lines) if line.startswith(f"REFUSED  {name}: ") and "-> nothing more" not in
             lines[number + 1])  # fmt: skip

    assert remedy in lines[at + 1]
    assert lines[at].count(f"{backend}: ") == 1 or backend == "kubernetes"


def test_what_would_refuse_our_canary_only_warns_where_people_drive_theirs(usual: Sandbox, tmp_path: Path) -> None:
    with usual.using() as world:
        world.scale("default", "nginx-canary", 2)
    try:
        enforced, observed = asked(usual, tmp_path), asked(usual, tmp_path, "  mode: observe\n")
    finally:
        with usual.using() as world:
            world.scale("default", "nginx-canary", 0)

    assert levels(enforced)["canary at rest"] == "REFUSED"
    assert levels(observed)["canary at rest"] == "WARNING"
    assert observed.code == 0, observed.out


def test_a_deployment_whose_own_deadline_is_shorter_than_the_pace_is_told(usual: Sandbox, tmp_path: Path) -> None:
    answer = asked(usual, tmp_path, "  promotion: {pace: 15m}\n")

    assert levels(answer)["pace"] == "WARNING"
    assert "each new pod is judged for 9 m 30 s, not for 15 m" in answer.out
    assert "raise progressDeadlineSeconds to 930 or more" in answer.out


def test_the_canary_of_the_plan_that_runs_is_not_to_be_scaled_away(usual: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(usual, tmp_path)
    terminal = Terminal(tmp_path)
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", "apisix-5xx, error-logs"))
    assert terminal.type("submit", plan).code == 0
    with usual.using() as world:
        world.scale("default", "nginx-canary", 1)
    try:
        answer = asked(usual, tmp_path)
    finally:
        with usual.using() as world:
            world.scale("default", "nginx-canary", 0)

    assert levels(answer)["canary at rest"] == "ok"
    assert "which is this very plan" in answer.out
    assert "--replicas=0" not in answer.out


def test_what_a_configuration_says_in_vain_and_what_nobody_would_hear_are_warnings(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    config = terminal.file(
        "rollout.yaml",
        f"""\
database: "{terminal.database}"
http: {{tokens: [{{name: a, tokenFile: /nope}}], publicUrl: x}}
clusters: [{{name: default, kubeconfig: /nope}}]
channels: [{{name: customers, type: slack, url: "http://127.0.0.1:9/hook", events: [announcement]}}]
""",
    )
    words = terminal.type("doctor", "-c", config).out

    assert "WARNING  configuration: http.tokens does nothing: the port serves health and figures only" in words
    assert "WARNING  configuration: http.publicUrl does nothing" in words
    assert "WARNING  channels: no channel takes needs-a-person or stepping-back" in words


def test_whatever_of_the_configuration_cannot_be_opened_is_refused_at_once_and_by_name(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.type("db", "upgrade")
    text = """\
clusters: [{name: a, kubeconfig: /nope/a}, {name: b, kubeconfig: /nope/b}]
backends: [{name: p, type: prometheus, url: "http://p", caFile: /nope/ca}]
gateways: [{name: g, type: apisix, cluster: a, adminUrl: "http://p"}]
channels: [{name: c, type: slack, url: "https://p", caFile: /nope/ca}, {name: d, type: slack, url: "https://p"}]
"""
    with pytest.raises(Refused, match="4 parts of the configuration cannot be used") as refused:
        open_parts(parse_settings(text.encode(), "rollout.yaml", MODELS), database=terminal.database)
    lines = terminal.type("doctor", "-c", terminal.file("rollout.yaml", text)).out

    assert [problem.key for problem in refused.value.problems] == ["cluster a", "cluster b", "backend p", "channel c"]
    for problem in refused.value.problems:
        assert f"REFUSED  {problem.key}: {problem.message}" in lines


AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


def test_a_database_that_is_away_hides_nothing_else_and_is_not_spoken_for(usual: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(usual, tmp_path)
    terminal, config = Terminal(tmp_path), str(tmp_path / "rollout.yaml")
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", "apisix-5xx"))
    answer = terminal.type("doctor", plan, "--database", AWAY, ROLLOUT_CONFIG=config)
    found = levels(answer)

    assert answer.code == 2
    assert (found["database"], found["target"]) == ("REFUSED", "WARNING")
    assert "REFUSED  database: PostgreSQL 127.0.0.1:1/nothing cannot be reached" in answer.out
    assert "whether another rollout is active on it is not known" in answer.out
    assert (found["cluster default"], found["backend prometheus"], found["signal apisix-5xx"]) == ("ok", "ok", "ok")


def test_channels_and_signals_are_tried_without_a_database(usual: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(usual, tmp_path)
    terminal, config = Terminal(tmp_path), str(tmp_path / "rollout.yaml")
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", "apisix-5xx"))

    for command in (("notify", "test"), ("signals", "test", plan)):
        assert terminal.type(*command, "--database", AWAY, ROLLOUT_CONFIG=config).code == 0, command


def test_a_channel_is_tried_although_the_cluster_cannot_be_opened(usual: Sandbox, tmp_path: Path) -> None:
    sandboxing.write(usual, tmp_path)
    terminal, config = Terminal(tmp_path), tmp_path / "rollout.yaml"
    config.write_text(config.read_text().replace(str(tmp_path / "kubeconfig"), "/nope"))
    plan = terminal.file("plan.yaml", PLAN.replace("SIGNALS", "apisix-5xx"))
    told = terminal.type("notify", "test", ROLLOUT_CONFIG=str(config))
    asked_signals = terminal.type("signals", "test", plan, ROLLOUT_CONFIG=str(config))

    assert (told.code, told.out) == (0, "ok       operations: delivered\n")
    assert asked_signals.code == 2
    assert "cluster default: kubeconfig /nope" in asked_signals.err


def test_looking_makes_no_database(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    answer = terminal.type("doctor", KUBECONFIG="/nowhere/kubeconfig")

    assert f"WARNING  database: there is no database at {terminal.database}" in answer.out
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_plans_is_looked_at_and_nothing_of_it_is_submitted(tmp_path: Path) -> None:
    terminal, folder = Terminal(tmp_path), tmp_path / "plans"
    config = terminal.file("rollout.yaml", f"plans: {{folder: {folder}}}\ndatabase: '{terminal.database}'\n")
    gone = terminal.type("doctor", "-c", config).out
    folder.mkdir()
    empty = terminal.type("doctor", "-c", config).out
    Terminal(folder).plan()
    (folder / "notes.txt").write_text("no plan")
    good = terminal.type("doctor", "-c", config).out
    Terminal(folder).file("bad.yaml", "kind: Canary\n")
    bad = terminal.type("doctor", "-c", config).out

    assert f"REFUSED  plans folder: {folder} cannot be read: No such file or directory" in gone
    assert f"ok       plans folder: {folder} has 0 plan files\n" in empty
    assert f"ok       plans folder: {folder} has 1 plan file, all valid" in good
    assert "WARNING  plans folder: bad.yaml:1:1: apiVersion: is required; bad.yaml:1:1: metadata: is required" in bad
    assert not (tmp_path / "rollout.db").exists()

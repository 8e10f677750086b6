"""Secrets planted in every place of a configuration appear nowhere: logs, rows, notices, metrics, process lists, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.adapters.stub import Say, stub
from tests.end_to_end.maintenance import Site
from tests.end_to_end.processes import Place, until

pytestmark = pytest.mark.timeout(300)  # a dozen commands, each a process, on cores that are shared

TOKEN = "hunter2-operator-token-0123456789"  # noqa: S105 - planted
MARKERS = {
    "webhook": "hunter2-webhook-path",
    "prometheus": "hunter2-prometheus-password",
    "elasticsearch": "hunter2-elasticsearch-password",
    "apisix": "hunter2-apisix-key",
    "alertmanager": "hunter2-alertmanager-bearer",
    "skywalking": "hunter2-skywalking-header",
    "chatbot": "hunter2-signing-secret",
    "cluster": "hunter2-service-account",
    "operator": TOKEN,
}
MARK = "hunter2"


def plant(place: Place) -> None:
    """Put a marker wherever the configuration takes a secret; one channel goes to a port where nobody listens."""
    document = yaml.safe_load(place.config.read_text())
    for backend in document["backends"]:
        if backend["type"] in {"prometheus", "elasticsearch"}:
            backend["username"] = "rollout"
            backend["password"] = MARKERS[backend["type"]]
        if backend["type"] == "alertmanager":
            backend["bearerToken"] = MARKERS["alertmanager"]
        if backend["type"] == "skywalking":
            backend["headers"] = {"X-Token": MARKERS["skywalking"]}
    document["channels"].append({"name": "nowhere", "type": "slack", "url": f"http://127.0.0.1:9/hooks/{MARKERS['webhook']}"})
    hooks = place.urls["webhooks"]
    document["channels"].append({"name": "refused", "type": "slack", "url": f"{hooks}/nothing-here/{MARKERS['webhook']}"})
    robot = f"http://127.0.0.1:9/robot/send?access_token={MARKERS['webhook']}"
    document["channels"].append({"name": "robot", "type": "dingtalk", "url": robot, "secret": MARKERS["chatbot"]})
    document["clusters"].append(far_cluster(place))
    document["backends"].append({"name": "away", "type": "prometheus", "url": "http://127.0.0.1:9", "bearerToken": f"{MARK}-away"})
    document["gateways"] = [{"name": "edge", "type": "apisix", "adminUrl": "http://127.0.0.1:9", "apiKey": MARKERS["apisix"]}]
    document["http"]["tokens"] = [{"name": "ada", "role": "operator", "token": TOKEN}]
    document["log"] = {"level": "debug", "format": "json"}
    place.config.write_text(yaml.safe_dump(document))


def far_cluster(place: Place) -> dict[str, str]:
    """Describe a cluster where nobody listens, with a token in its kubeconfig."""
    document = yaml.safe_load((place.folder / "kubeconfig").read_text())
    document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    document["users"][0]["user"]["token"] = MARKERS["cluster"]
    (place.folder / "far").write_text(yaml.safe_dump(document))
    return {"name": "far", "kubeconfig": str(place.folder / "far")}


FAR_PLAN = """\
apiVersion: rollout/v1
kind: Canary
metadata: {name: far}
spec:
  target: {cluster: far, namespace: default, stable: web, service: web, container: app}
  image: web:2
  soak: 1s
  replicas: {every: 1s}
  signals: [{preset: apisix-5xx, backend: away}]
"""


def command_lines() -> str:
    """Read what any user of the machine can read of the processes of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"rollout" in words:
            found.append(words.decode(errors="replace"))
    return "\n".join(found)


def test_planted_secrets_are_found_nowhere(tmp_path: Path) -> None:
    with Place(tmp_path) as place:
        plant(place)
        daemon = place.serve()
        rollout = place.submit()
        place.until_step(rollout, "soaking")
        place.behave("nginx:1.28.0", crashAfter="1s")
        place.until_ended(rollout, "failed")
        until(lambda: bool(place.rows("select 1 from notice where channel = 'operations' and state = 'delivered'")), "told")
        until(lambda: bool(place.rows("select 1 from notice where channel = 'nowhere' and attempts > 0")), "tried in vain")
        url = f"http://127.0.0.1:{yaml.safe_load(place.config.read_text())['http']['port']}"
        shown = [httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=10).text
                 for path in ("/metrics", "/readyz", "/healthz", "/", "/api/v1/rollouts", f"/api/v1/rollouts/{rollout}")
                 for token in (TOKEN, "wrong")]  # fmt: skip
        far = tmp_path / "far.yaml"
        far.write_text(FAR_PLAN)
        ran = [place.run(*words) for words in (("doctor",), ("doctor", str(far)), ("submit", str(far)))]
        assert "far" in ran[-1].stdout, ran[-1].stderr
        until(lambda: bool(place.rows("select 1 from rollout where plan_name = 'far'")), "a rollout where nobody listens")
        until(lambda: "far" in daemon.output() and "127.0.0.1" in daemon.output(), "its failures were met")
        ran += [place.run("notify", "test"), place.run("history", rollout)]
        words = {
            "command lines": command_lines(),
            "commands": "".join(done.stdout + done.stderr for done in ran),
            "http": "\n".join(shown),
            "notices": str([message["payload"] for message in place.get("webhooks", "/received")]),
        }
        daemon.terminate()
        words["logs"] = daemon.output()
        for file in tmp_path.glob("rollout.db*"):
            words[file.name] = file.read_bytes().decode("latin-1")
    assert "rollout.stepping_back" in words["logs"]
    assert "notice.postponed" in words["logs"], "the failures were met"
    for where, text in words.items():
        at = text.find(MARK)
        assert at < 0, f"{where}: ...{text[max(0, at - 200) : at + 60]}..."


def test_the_credential_of_a_maintenance_reaches_whom_it_is_meant_for_and_is_found_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{MARK}-of-a-file\n")
    with stub(lambda seen: Say(200, dict(seen.headers))) as echo, Site(tmp_path) as site:
        document = yaml.safe_load(site.config.read_text())
        document["credentials"] = [
            {"name": "orders-qa", "hosts": ["127.0.0.1"], "header": "X-API-KEY", "valueFile": str(tmp_path / "key")},
            {"name": "orders-admin", "hosts": ["127.0.0.1"], "bearerTokenEnv": "ADMIN_TOKEN"},
            {"name": "elsewhere", "hosts": ["qa.example.com"], "bearerToken": f"{MARK}-elsewhere"},
        ]
        document["log"] = {"level": "debug", "format": "json"}
        site.config.write_text(yaml.safe_dump(document))
        site.environment["ADMIN_TOKEN"] = f"{MARK}-of-a-variable"
        tests = [{"name": name, "http": {"url": f"{echo.url}/{name}", "credential": name}, "retries": 0, "severity": "minor"}
                 for name in ("orders-qa", "orders-admin")]  # fmt: skip
        hook = {"name": "drain", "http": {"url": f"{echo.url}/drain", "method": "POST", "credential": "orders-admin"}}
        without: dict[str, Any] = dict.fromkeys(("backup", "migrate", "restore"))
        rollout = site.maintenance(schemaChange=False, quiesce={"hooks": [hook]}, tests=tests, **without)
        site.live_on(rollout)
        ran = [site.run(*words, rollout, "-o", "json") for words in (("show",), ("history",))]
        refused = site.folder / "refused.yaml"
        plan = (site.folder / "offline.yaml").read_text()
        refused.write_text(
            plan.replace("credential: orders-qa", f"headers: {{Cookie: {MARK}-cookie}}").replace("name: orders\n", "name: o\n")
        )
        ran += [site.run(command, str(refused)) for command in ("validate", "submit")]
        words = {
            "commands": "".join(done.stdout + done.stderr for done in ran),
            "notices": str([message["payload"] for message in site.get("webhooks", "/received")]),
            "logs": (site.folder / "serve.log").read_text(),
        }
        assert site.row(rollout)[0] == "succeeded", site.story(rollout)
        for file in tmp_path.glob("rollout.db*"):
            words[file.name] = file.read_bytes().decode("latin-1")
        shown = {seen.path: (seen.headers.get("x-api-key"), seen.headers.get("authorization")) for seen in echo.seen}
    assert shown == {
        "/drain": (None, f"Bearer {MARK}-of-a-variable"),
        "/orders-admin": (None, f"Bearer {MARK}-of-a-variable"),
        "/orders-qa": (f"{MARK}-of-a-file", None),
    }
    assert "orders-admin" in words["rollout.db"], "the plan's row names the credential"
    assert "Cookie carries a credential, and a plan is stored, shown and logged" in words["commands"]
    for where, text in words.items():
        at = text.find(MARK)
        assert at < 0, f"{where}: ...{text[max(0, at - 200) : at + 60]}..."


def test_a_configuration_with_a_mistake_is_refused_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(yaml.safe_dump({
        "database": f"postgresql://rollout:{MARK}-password@127.0.0.1:9/rollout",
        "channels": [{"name": "ops", "type": "slack", "url": f"https://hooks.example.com/{MARK}", "colour": f"{MARK}-unknown"}],
    }))  # fmt: skip
    place = Place(tmp_path)
    for command in (("list",), ("serve", "--port", "0"), ("db", "check")):
        done = place.run(*command)
        assert done.returncode != 0
        assert MARK not in done.stdout + done.stderr
    file.write_text(yaml.safe_dump({"database": f"postgresql://rollout:{MARK}-password@127.0.0.1:9/rollout"}))
    for command in (("list",), ("serve", "--port", "0"), ("db", "check")):
        done = place.run(*command)
        assert done.returncode != 0
        assert MARK not in done.stdout + done.stderr, done.stderr

"""`rollout validate`: everything that is wrong with a file in one run, also against the daemon's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.console import Terminal

CONFIG = """\
clusters: [{name: default}, {name: edge}]
backends: [{name: prometheus, type: prometheus, url: "http://127.0.0.1:9"}]
gateways: [{name: apisix, type: apisix, adminUrl: "http://127.0.0.1:9", apiKey: x}]
channels: [{name: operations, type: slack, url: "http://127.0.0.1:9"}]
"""
OFFLINE = """\
apiVersion: rollout/v1
kind: Offline
metadata: {name: orders-3}
spec:
  target: {namespace: shop, stable: orders, cluster: egde}
  image: orders:3.0.0
  schemaChange: true
  window: {startAt: 2099-01-10 01:00, timezone: UTC, duration: 3h}
  announce: {channels: [operatons]}
  gate:
    gateway: apsix
    route: {name: orders}
    allow: [192.0.2.1]
  acceptUnproven: true
  backup: {template: postgresql-bakcup, expected: 5m}
  restore:
    template: postgresql-restore
    parameters: {DATABASE: orders}
    expected: 5m
  tests:
    - {name: health, http: {url: "http://orders.shop/healthz"}}
    - {name: smoke, job: {template: no-such-thing}}
"""
CANARY = """\
apiVersion: rollout/v1
kind: Canary
metadata: {name: web}
spec:
  target: {namespace: default, stable: web}
  image: nginx:1.28.0
  soak: 1h
  maxSoak: 30m
  replicas: {initial: 1, step: 2}
  signals: [apisix-5xx, skywalking-traces, {preset: error-logs, backend: promtheus}]
  promotion: {paces: 7m}
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_every_error_of_a_canary_comes_in_one_run_with_its_place(terminal: Terminal) -> None:
    path, config = terminal.file("web.yaml", CANARY), terminal.file("rollout.yaml", CONFIG)
    answer = terminal.type("validate", path, "--config", config)

    assert answer.code == 2
    assert answer.out == ""
    for line in (
        f"{path}:7:9: spec.soak: 1h is below the policy's minimumSoak (24h)",
        f"{path}:8:12: spec.maxSoak: 30m is shorter than soak (1h)",
        f"{path}:9:32: spec.replicas.step: 2 is above the policy's maximumStep (1)",
        f"{path}:10:25: spec.signals[1]: no backend 'skywalking' is configured (configured: prometheus)",
        f"{path}:10:74: spec.signals[2].backend: no backend 'promtheus' is configured (did you mean prometheus? configured: prom",
        f"{path}:11:15: spec.promotion.paces: unknown key 'paces' (did you mean pace?",
    ):
        assert line in answer.err


def test_names_that_the_configuration_does_not_have_are_told_with_the_nearest_that_it_has(terminal: Terminal) -> None:
    path, config = terminal.file("orders.yaml", OFFLINE), terminal.file("rollout.yaml", CONFIG)
    answer = terminal.type("validate", path, "-c", config)

    assert answer.code == 2
    for line in (
        f"{path}:5:54: spec.target.cluster: no cluster 'egde' is configured (did you mean edge? configured: default, edge)",
        f"{path}:9:25: spec.announce.channels[0]: no channel 'operatons' is configured (did you mean operations?",
        f"{path}:11:14: spec.gate.gateway: no gateway 'apsix' is configured (did you mean apisix? configured: apisix)",
        f"{path}:15:22: spec.backup.template: there is no Job template 'postgresql-bakcup' (did you mean postgresql-backup?",
        f"{path}:18:5: spec.restore.parameters.SECRET: postgresql-restore needs the parameter SECRET",
        f"{path}:22:37: spec.tests[1].job.template: there is no Job template 'no-such-thing' (there are: mysql-backup,",
    ):
        assert line in answer.err
    assert "rbac" not in answer.err, "not every manifest beside them is a Job"


ELSEWHERE = """\
apiVersion: rollout/v1
kind: Offline
metadata: {name: orders}
spec:
  target: {namespace: shop, stable: orders}
  image: orders:3
  window: {startAt: 2100-01-01 02:00, timezone: UTC, duration: 2h}
  gate: {route: {id: "1"}, allow: [192.0.2.1]}
  acceptUnproven: true
  tests:
    - name: smoke
      job:
        manifest:
          apiVersion: batch/v1
          kind: Job
          metadata:
            namespace: kube-system
          spec: {template: {spec: {containers: [{name: a, image: "a:1"}]}}}
    - name: more
      job: {template: anywhere, parameters: {WHERE: kube-system}}
"""


def test_a_job_in_another_namespace_is_refused_with_its_line(terminal: Terminal) -> None:
    jobs = terminal.folder / "jobs"
    jobs.mkdir()
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "{{WHERE:shop}}"},
                "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}  # fmt: skip
    (jobs / "anywhere.yaml").write_text(yaml.safe_dump(manifest))
    settings = {"policy": {"allowedNamespaces": ["shop"]}, "plans": {"jobs": str(jobs)},
                "gateways": [{"name": "apisix", "type": "apisix"}]}  # fmt: skip
    path, config = terminal.file("orders.yaml", ELSEWHERE), terminal.file("rollout.yaml", yaml.safe_dump(settings))
    answer = terminal.type("validate", path, "-c", config)

    assert answer.code == 2
    for line in (
        f"{path}:17:24: spec.tests[0].job.manifest.metadata.namespace: the Job would run in namespace 'kube-system', which is not",
        "(leave it out: then it is the target's, shop; allowed: shop)",
        f"{path}:20:23: spec.tests[1].job.template: template anywhere takes its namespace from the plan, past the policy's",
    ):
        assert line in answer.err


def test_the_same_is_told_by_preview_and_submit(terminal: Terminal) -> None:
    path, config = terminal.file("orders.yaml", OFFLINE), terminal.file("rollout.yaml", CONFIG)
    for command in ("preview", "submit"):
        answer = terminal.type(command, path, "-c", config)
        assert answer.code == 2
        assert "spec.gate.gateway: no gateway 'apsix'" in answer.err
        assert "spec.backup.template: there is no Job template" in answer.err


def test_without_a_configuration_it_says_what_it_did_not_look_at(terminal: Terminal) -> None:
    alone = terminal.type("validate", terminal.file("orders.yaml", OFFLINE))
    config = terminal.file("rollout.yaml", CONFIG)
    beside = terminal.type("validate", terminal.plan(), "-c", config)

    assert (alone.code, beside.code) == (0, 0)
    assert "orders.yaml: valid" in alone.out
    assert "without --config" in alone.out
    assert "without --config" not in beside.out


def test_scripts_read_the_verdicts_as_json(terminal: Terminal) -> None:
    answer = terminal.type("validate", terminal.plan(), terminal.file("web2.yaml", CANARY), "-o", "json")

    assert answer.code == 2
    good, bad = answer.document
    assert (good["valid"], good["problems"]) == (True, [])
    assert (bad["valid"], bad["file"]) == (False, str(terminal.folder / "web2.yaml"))
    assert {"spec.soak", "spec.maxSoak", "spec.promotion.paces"} <= {problem["key"] for problem in bad["problems"]}
    assert all(problem["line"] and problem["column"] for problem in bad["problems"])

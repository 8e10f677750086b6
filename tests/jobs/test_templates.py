"""The shipped Job templates: parameters, hardening, and scripts that Kubernetes passes on unchanged."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from rollout.adapters.job_templates import JobTemplates, default_folder
from rollout.core.errors import Refused
from rollout.core.job_template import Artifact, artifact_in, containers, parameters_of, process_of, rendered
from tests.jobs.templates import FOLDER, NAMES, template

GIVEN = {"DATABASE": "orders", "SECRET": "orders-db", "VOLUME": "orders-backup", "IMAGE": "postgres:17"}
SUM = "ab" * 32
TWICE = f"""rollout-artifact: {{"id": "a", "size": 7, "sha256": "{SUM}"}}
rollout-artifact: {{"id": "b", "size": 8, "sha256": "{SUM.upper()}"}}
bye
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_rendered_whole(name: str) -> None:
    manifest = rendered(template(name), GIVEN)
    assert "{{" not in str({k: v for c in containers(manifest) for k, v in c.items() if k not in ("command", "args")})
    (container,) = containers(manifest)
    assert container["image"] == "postgres:17"
    assert container["envFrom"] == [{"secretRef": {"name": "orders-db"}}]
    assert {"name": "DATABASE", "value": "orders"} in container["env"]
    assert manifest["spec"]["backoffLimit"] == 0
    assert manifest["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_shipped_template_is_tried_here_and_its_script_stands_in_no_other_file() -> None:
    """What the tests run as a process is the text that a container gets: it is read from the template, and written once."""
    shipped = {path.stem: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml") if "\nkind: Job\n" in path.read_text()}
    assert sorted(shipped) == sorted(NAMES)
    assert [name for name in NAMES if JobTemplates(default_folder())(name) != shipped[name]] == []
    assert [path.name for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".yaml"] == []


@pytest.mark.parametrize("name", [name for name in NAMES if "migrate" not in name])
def test_kubernetes_passes_a_script_on_as_it_is_written(name: str) -> None:
    (container,) = containers(rendered(template(name), GIVEN))
    words, _ = process_of(container)
    assert words == [*container["command"], *container["args"]]
    shell = shutil.which("dash") or "/bin/sh"
    assert subprocess.run([shell, "-n", "-c", words[-1]], capture_output=True, check=False).returncode == 0


def test_every_missing_parameter_is_named_at_once() -> None:
    with pytest.raises(Refused, match="SECRET, VOLUME") as told:
        rendered(template("postgresql-backup"), {"DATABASE": "orders"})
    assert [problem.key for problem in told.value.problems] == ["parameters.SECRET", "parameters.VOLUME"]


def test_parameters_are_listed_with_their_defaults() -> None:
    assert parameters_of(template("mysql-backup")) == {"IMAGE": "mariadb:11", "SECRET": None, "VOLUME": None}


def test_what_the_template_sets_itself_stays() -> None:
    (container,) = containers(rendered(template("postgresql-backup"), {**GIVEN, "ARTIFACTS": "/somewhere/else"}))
    assert [item["value"] for item in container["env"] if item["name"] == "ARTIFACTS"] == ["/artifacts"]


def test_rendering_leaves_the_template_alone() -> None:
    before = template("mysql-restore")
    shared = template("mysql-restore")
    rendered(shared, GIVEN)
    assert shared == before


def test_kubernetes_own_references_are_expanded() -> None:
    container = {"command": ["sh"], "args": ["$(NAME) $(unknown) $$(NAME) $$"], "env": [{"name": "NAME", "value": "x"}]}
    assert process_of(container) == (["sh", "x $(unknown) $(NAME) $"], {"NAME": "x"})


@pytest.mark.parametrize(
    ("log", "artifact"),
    [
        (f'dumping\nrollout-artifact: {{"id": "a.dump", "size": 7, "sha256": "{SUM}"}}\n', Artifact("a.dump", 7, SUM)),
        (TWICE, Artifact("b", 8, SUM)),
        (f'rollout-artifact: {{"id": "a", "size": 0, "sha256": "{SUM}"}}', None),
        (f'rollout-artifact: {{"id": "", "size": 1, "sha256": "{SUM}"}}', None),
        ('rollout-artifact: {"id": "a", "size": 1, "sha256": "abc"}', None),
        ('rollout-artifact: {"id": "a", "size": 1}', None),
        ('rollout-artifact: {"id": "a", "si', None),
        ("all is well", None),
        ("", None),
    ],
)  # fmt: skip
def test_an_artifact_is_read_only_when_it_is_whole(log: str, artifact: Artifact | None) -> None:
    assert artifact_in(log) == artifact

"""What containers printed: files in the format of container runtimes, which KWOK serves to the API server as a kubelet would."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from tests.peers.kubernetes.api import KubernetesApi

Json = dict[str, Any]
_GROUP: Final = "kwok.x-k8s.io"

# KWOK reads a pod's files from an object of this kind with the pod's name. What it does not check, this does not describe.
_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION: Final[Json] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"logs.{_GROUP}"},
    "spec": {
        "group": _GROUP,
        "names": {"kind": "Logs", "listKind": "LogsList", "plural": "logs", "singular": "logs"},
        "scope": "Namespaced",
        "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _ANYTHING}}],
    },
}


class PodLogs:
    """Log files in a folder; a pod that nothing was written for has an empty log, as a silent container has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._silence = self._folder / "silence.log"
        self._silence.touch()

    def silence(self) -> str:
        """The part of KWOK's configuration that gives every pod an empty log."""
        spec = {"logs": [{"logsFile": str(self._silence), "previousLogsFile": str(self._silence)}]}
        return yaml.safe_dump(self._object("ClusterLogs", {"name": "silence"}, spec))

    def write(self, api: KubernetesApi, namespace: str, pod: str, *lines: str, at: datetime, previous: bool = False) -> None:
        """Append lines to what the pod's containers print, or, with `previous`, to what they printed before they restarted."""
        present, past = (self._folder / f"{namespace}_{pod}.{which}.log" for which in ("present", "past"))
        first = not present.exists()
        for file in (present, past):
            file.touch()
        stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with (past if previous else present).open("a") as log:
            log.writelines(f"{stamp} stdout F {line}\n" for line in lines)
        if first:
            spec = {"logs": [{"logsFile": str(present), "previousLogsFile": str(past), "follow": True}]}
            api.apply(self._object("Logs", {"name": pod, "namespace": namespace}, spec))

    @staticmethod
    def _object(kind: str, metadata: Json, spec: Json) -> Json:
        return {"apiVersion": f"{_GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

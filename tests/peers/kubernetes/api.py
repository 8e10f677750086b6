"""A bare client of the API server for the tests' own hands: it sets scenes and looks at them from outside.

It is not the product's adapter and shares nothing with it, so that a mistake there cannot hide here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml

Json = dict[str, Any]
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class KubernetesApi:
    """Requests as the owner of one token.

    Paths are as in the API reference: `/apis/apps/v1/namespaces/shop/deployments/web`.
    """

    def __init__(self, url: str, authority: Path, token: str) -> None:
        trust = ssl.create_default_context(cafile=str(authority))
        self._client = httpx.Client(
            base_url=url, verify=trust, headers={"Authorization": f"Bearer {token}"}, timeout=20, trust_env=False
        )
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 -- passed on to httpx
        """Send anything; the answer is given back whatever its status."""
        return self._client.request(method, path, **more)

    def ready(self) -> bool:
        """Tell whether /readyz says ok."""
        try:
            return self._client.get("/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def get(self, path: str, **query: str) -> Json:
        return self._json(self._client.get(path, params=query))

    def exists(self, path: str) -> bool:
        return self._client.get(path).status_code == httpx.codes.OK

    def items(self, path: str, selector: str = "") -> list[Json]:
        """The objects of a list, narrowed by a label selector."""
        found: list[Json] = self.get(path, labelSelector=selector)["items"]
        return found

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        return self._json(self._client.post(path, json=dict(body)))

    def patch(self, path: str, body: Mapping[str, Any], kind: str = "merge", **query: str) -> Json:
        """Patch an object; `kind` is merge, strategic or apply."""
        content_type = {"Content-Type": _PATCHES[kind]}
        return self._json(self._client.patch(path, json=dict(body), headers=content_type, params=query))

    def delete(self, path: str, **query: str) -> None:
        answer = self._client.delete(path, params=query)
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._json(answer)

    def apply(self, *sources: Path | str | Mapping[str, Any], namespace: str = "default") -> list[Json]:
        """Server-side apply of YAML files, folders of them, YAML text or single objects, in the order given;

        namespaces first.
        """
        objects = [found for source in sources for found in _objects(source)]
        objects.sort(key=lambda found: found["kind"] != "Namespace")
        return [self._apply(found, namespace) for found in objects]

    def path_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        """The path of an object, by asking the server which resource its kind is."""
        key = (api_version, kind)
        if key not in self._paths:
            root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            for found in self.get(root)["resources"]:
                if "/" not in found["name"]:
                    self._paths[api_version, found["kind"]] = (f"{root}/%s{found['name']}", found["namespaced"])
        template, namespaced = self._paths[key]
        return template % (f"namespaces/{namespace}/" if namespaced else "") + "/" + quote(name)

    def _apply(self, body: Json, namespace: str) -> Json:
        metadata = body["metadata"]
        path = self.path_of(body["apiVersion"], body["kind"], metadata.get("namespace", namespace), metadata["name"])
        return self.patch(path, body, "apply", fieldManager="rollout-tests", force="true")

    @staticmethod
    def _json(answer: httpx.Response) -> Json:
        request = answer.request
        assert answer.is_success, f"{request.method} {request.url.path}: {answer.status_code} {answer.text}"
        body: Json = answer.json()
        return body


def _objects(source: Path | str | Mapping[str, Any]) -> Iterator[Json]:
    if isinstance(source, Mapping):
        yield dict(source)
        return
    if isinstance(source, Path) and source.is_dir():
        for file in sorted(source.glob("*.y*ml")):
            yield from _objects(file)
        return
    text = source.read_text() if isinstance(source, Path) else source
    documents: Iterable[Json | None] = yaml.safe_load_all(text)
    for document in documents:
        if document:
            yield from document["items"] if document["kind"] == "List" else [document]

"""Joins the pretend gateway to the pretend cluster: Services are discovered, and the pods that are ready answer.

As in a real gateway with Kubernetes discovery, an upstream says `{"discovery_type": "kubernetes", "service_name":
"namespace/service:port"}`, and every request asks who is ready at that moment.
"""

from __future__ import annotations

import json

from rollout.sandbox.apisix_http import Request, Response
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.services import is_ready


class ClusterPods:
    """The pods of one world, as a gateway sees them: `discover` finds them, `answer` is what they say."""

    def __init__(self, live: LiveWorld) -> None:
        self._live = live

    def discover(self, service_name: str) -> list[tuple[str, int]]:
        """List ready endpoints of `namespace/service:port` (port by name or number) as address and port."""
        where, _, wanted = service_name.partition(":")
        namespace, _, service = where.partition("/")
        found: list[tuple[str, int]] = []
        with self._live.using() as world:
            for piece in world.objects("endpointslices", namespace):
                if piece["metadata"].get("labels", {}).get("kubernetes.io/service-name") != service:
                    continue
                ports = [
                    int(p["port"]) for p in piece.get("ports") or () if not wanted or wanted in (p.get("name"), str(p["port"]))
                ]
                for endpoint in piece["endpoints"]:
                    if endpoint["conditions"]["ready"]:
                        found += [(endpoint["addresses"][0], port) for port in ports[:1]]
        return sorted(found)

    def nodes(self, namespace: str, service: str, _port: int) -> dict[str, int]:
        """The same as nodes of an upstream, for the pretend ingress controller: the Service's first port, whatever it asked."""
        return {f"{host}:{port}": 1 for host, port in self.discover(f"{namespace}/{service}")}

    def answer(self, host: str, _port: int, request: Request) -> Response:
        """Answer as the pod at this address. Raises ConnectionRefusedError where none is ready."""
        with self._live.using() as world:
            pod = next((pod for pod in world.objects("pods") if pod.get("status", {}).get("podIP") == host), None)
        if pod is None or not is_ready(pod):
            raise ConnectionRefusedError(f"nothing listens at {host}")
        image = pod["spec"]["containers"][0]["image"]
        shown = {"pod": pod["metadata"]["name"], "image": image, "path": request.target, "client": request.client}
        return Response(200, json.dumps(shown))

"""The resource metrics API (metrics.k8s.io), served by the tests and registered at the aggregator, for a HorizontalPodAutoscaler.

What metrics-server does in a cluster. The real kube-controller-manager asks it through the real kube-apiserver; how much work
there is, is the test's to say.
"""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.peers.kubernetes.control_plane import KubernetesControlPlane
from tests.peers.process import free_port, wait_until

Json = dict[str, Any]
GROUP: Final = "metrics.k8s.io"
VERSION: Final = f"{GROUP}/v1beta1"
_SERVICE: Final = "/api/v1/namespaces/kube-system/services"
_REGISTERED: Final = "/apis/apiregistration.k8s.io/v1/apiservices"
_RESOURCES: Final = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": VERSION,
    "resources": [{"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}],
}


class MetricsApi:
    """Answers between `with` and its end. `work`: CPU in millicores that all pods of one selector share."""

    def __init__(self, cluster: KubernetesControlPlane) -> None:
        self._cluster = cluster
        self.work = 0

    def __enter__(self) -> Self:
        # Threads that the API server's idle connections hold must not keep the end waiting.
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._answering())
        self._server.daemon_threads = True
        trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trust.load_cert_chain(self._cluster.certificate, self._cluster.certificate.with_suffix(".key"))
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="metrics-api")
        self._thread.start()
        try:
            self._register()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        # First of all: with a registered API that does not answer, no namespace could be deleted any more.
        self._cluster.api.delete(f"{_REGISTERED}/v1beta1.{GROUP}")
        self._cluster.api.delete(f"{_SERVICE}/metrics-api")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _register(self) -> None:
        # An ExternalName is the one kind of Service that leads to loopback; endpoints there are refused.
        service = {"type": "ExternalName", "externalName": "localhost"}
        metadata = {"name": "metrics-api", "namespace": "kube-system"}
        self._cluster.api.create(_SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
        spec = {
            "group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": True, "service": {**metadata, "port": self._server.server_port},
        }  # fmt: skip
        kind = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
        self._cluster.api.create(_REGISTERED, {**kind, "metadata": {"name": f"v1beta1.{GROUP}"}, "spec": spec})
        wait_until(lambda: self._cluster.api.exists(f"/apis/{VERSION}"), 30, f"{VERSION} served through the API server")

    def answer(self, path: str, query: dict[str, list[str]]) -> Json:
        parts = path.strip("/").split("/")
        if parts[-1] != "pods":
            return _RESOURCES
        namespace, selector = parts[-2], query.get("labelSelector", [""])[0]
        names = [pod["metadata"]["name"] for pod in self._cluster.api.items(f"/api/v1/namespaces/{namespace}/pods", selector)]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        usage = {"cpu": f"{self.work // max(1, len(names))}m", "memory": "32Mi"}
        items = [
            {
                "metadata": {"name": name, "namespace": namespace, "creationTimestamp": now},
                "timestamp": now,
                "window": "1s",
                "containers": [{"name": "nginx", "usage": usage}],
            }
            for name in names
        ]
        return {"kind": "PodMetricsList", "apiVersion": VERSION, "metadata": {}, "items": items}

    def _answering(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                body = json.dumps(api.answer(asked.path, parse_qs(asked.query))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                del words

        return Answering

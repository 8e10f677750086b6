"""etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, as processes of ours on loopback, with RBAC on.

The flags are the fewest that work. The API server makes its own certificate in a temporary folder; tokens are made
anew for each start.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.peers import build
from tests.peers.kubernetes.api import KubernetesApi
from tests.peers.kubernetes.pod_logs import DEFINITION, PodLogs
from tests.peers.kubernetes.stages import BEHAVIOUR, stages
from tests.peers.process import Folder, Server, free_port, on_path, wait_until

NODES = 5
_KUBELET = "rollout.test/kubelet"


def _assets() -> Path | None:
    found = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(found) if found else None


def _etcd() -> Path | None:
    assets = _assets()
    return assets / "etcd" if assets else on_path("etcd")


def _api_server() -> Path:
    return (_assets() or build.kubernetes_folder()) / "kube-apiserver"


class KubernetesControlPlane:
    """A cluster of `nodes` nodes that runs pods as tests/peers/kubernetes/stages.py says.

    `api` acts as cluster-admin; `kubeconfig` is the path of its kubeconfig, `certificate` that of the authority to
    trust; `kubeconfig_for` makes one for a ServiceAccount. Every pod has an IP of its own in 10.244.0.0/16 (the
    addresses of deleted pods are given out again). `watch_cache=False` makes every read go to etcd.
    """

    def __init__(self, nodes: int = NODES, *, watch_cache: bool = True) -> None:
        self._nodes = nodes
        self._watch_cache = watch_cache
        self._token = secrets.token_hex(16)

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        etcd = _etcd()
        if etcd is None or not etcd.exists():
            return "etcd is missing (Debian package etcd-server, or KUBEBUILDER_ASSETS)"
        if on_path("openssl") is None:
            return "openssl is missing (Debian package openssl)"
        binaries = [_api_server()]
        binaries += [build.kubernetes_folder() / name for name in ("kube-controller-manager", "kube-scheduler", "kwok")]
        missing = [binary.name for binary in binaries if not binary.exists()]
        return f"missing {', '.join(missing)}: run `python -m tests.peers.build kubernetes` (minutes)" if missing else None

    def __enter__(self) -> Self:
        self._folder = Folder("kubernetes", in_memory=True)
        self._servers: list[Server] = []
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "api"):
            self.api.close()
        for server in reversed(self._servers):
            server.kill()
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        return [
            f"Kubernetes {build.kubernetes_version()} at {self.url}, {self._nodes} pretended nodes; logs in {self._folder.path}",
            f"  export KUBECONFIG={self.kubeconfig}",
            f"  pods obey the end of their image tag or the annotation {BEHAVIOUR}; see tests/peers/kubernetes/stages.py",
        ]

    # -- What tests do to it

    def stop_api_server(self) -> None:
        """Take the API server away (SIGKILL: connections are cut, as when its machine dies)."""
        self._api_server.kill()

    def start_api_server(self) -> None:
        """Start the API server (again), on the same port with the same certificate, and wait until it is ready."""
        self._api_server.start()
        self._api_server.wait_for(self._is_ready)

    def restart_api_server(self) -> None:
        """Cut every connection and come back on the same port."""
        self.stop_api_server()
        self.start_api_server()

    def pause_api_server(self) -> None:
        """Let it hang: connections are accepted by the system, nothing is answered."""
        self._api_server.pause()

    def resume_api_server(self) -> None:
        """End `pause_api_server`."""
        self._api_server.resume()

    def compact_etcd(self) -> int:
        """Forget every revision but the newest, and say which that is.

        Continue tokens and reads of older revisions answer 410.
        """
        revision = int(self._etcd_ask("range", key=b64encode(b"/").decode())["header"]["revision"])
        self._etcd_ask("compaction", revision=str(revision), physical=True)
        return revision

    def expire_watches(self) -> None:
        """Make a watch from any resource version of before answer 410:

        etcd forgets, and the API server's own memory is emptied. Something is written twice while nobody can see it: whoever has
        seen the very last write would find the next one after it still there, if that were the one to which etcd is compacted.
        """
        self.stop_api_server()
        try:
            for value in (b"once", b"twice"):
                self._etcd_ask("put", key=b64encode(b"/rollout.test/expired").decode(), value=b64encode(value).decode())
            self.compact_etcd()
        finally:
            self.start_api_server()

    def _etcd_ask(self, what: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON
        """Ask etcd 3.4's JSON gateway: keys are base64, 64-bit numbers are strings."""
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{what}"
        answer = httpx.post(url, json=body, timeout=20, trust_env=False).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def stop_kubelets(self) -> None:
        """Stop KWOK: pods stay as they are, nodes are marked NotReady after their grace period."""
        self._kwok.kill()

    def start_kubelets(self) -> None:
        """End `stop_kubelets`."""
        self._kwok.start()

    def lose_node(self, node: str) -> None:
        """Let a node's kubelet fall silent.

        After 50 s the node is NotReady; after 5 min more its pods are deleted, and stay Terminating.
        """
        self.api.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {_KUBELET: "lost"}}})

    def find_node(self, node: str) -> None:
        """End `lose_node`."""
        self.api.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {_KUBELET: "runs"}}})

    def behave(self, namespace: str, pod: str, behaviour: str) -> None:
        """Make a pod behave otherwise from now on."""
        body = {"metadata": {"annotations": {BEHAVIOUR: behaviour}}}
        self.api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}", body)

    def log(self, namespace: str, pod: str, *lines: str, at: datetime | None = None, previous: bool = False) -> None:
        """Let a pod's containers print lines (now, unless told otherwise), for whoever asks the API server for its log."""
        self._logs.write(self.api, namespace, pod, *lines, at=at or datetime.now(UTC), previous=previous)

    def drain(self, node: str) -> list[str]:
        """Cordon a node and evict its pods, as `kubectl drain` does; the names of the pods that were evicted."""
        self.api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
        evicted = []
        for pod in self.api.get("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")["items"]:
            metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
            answer = self.api.request("POST", path, json=body)
            leaving = answer.status_code == httpx.codes.NOT_FOUND or "NamespaceTerminating" in answer.text
            assert answer.is_success or leaving, f"{path}: {answer.status_code} {answer.text}"
            if answer.is_success:
                evicted.append(metadata["name"])
        return evicted

    def uncordon(self, node: str) -> None:
        """Let pods onto a drained node again."""
        self.api.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": False}})

    def create_namespace(self, name: str) -> None:
        """Make a namespace and wait until pods can be created in it."""
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: self.api.exists(account), 30, f"the default ServiceAccount of namespace {name}")

    def kubeconfig_for(
        self, account: str, namespace: str, *rules: Path | str | Mapping[str, Any], into: str | None = None, url: str | None = None
    ) -> Path:
        """Make a ServiceAccount, apply `rules` (YAML files with Role, RoleBinding ...), and give the path of its kubeconfig.

        The rules go into the account's namespace, or into `into`. The account can do what they bind to it, and nothing else.
        Its token is valid for a day. `url` leads to the API server by another way, such as a Wire.
        """
        for name in {namespace, into or namespace}:
            self.create_namespace(name)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if not self.api.exists(f"{path}/{account}"):
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
            self.api.create(path, body)
        applied = self.api.apply(*rules, namespace=into or namespace)
        roles = [found for found in applied if found["kind"] in {"Role", "ClusterRole"}]
        user = f"system:serviceaccount:{namespace}:{account}"
        wait_until(lambda: all(self._may(user, into or namespace, role) for role in roles), 60, f"the rights of {user}")
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
        token: str = self.api.create(f"{path}/{account}/token", request)["status"]["token"]
        return self._write_kubeconfig(f"{namespace}-{account}", token, url or self.url)

    def _may(self, user: str, namespace: str, role: Mapping[str, Any]) -> bool:
        """Ask whether the API server knows by now what a role gives: it hears of roles and bindings by a watch of its own."""
        rule = role["rules"][-1]
        resource, _, part = rule["resources"][0].partition("/")
        wanted = {"namespace": namespace, "group": rule["apiGroups"][0], "verb": rule["verbs"][0], "resource": resource}
        body = {"spec": {"user": user, "resourceAttributes": {**wanted, "subresource": part}}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", **body}
        told = self.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(told["status"]["allowed"])

    # -- How it starts

    def _start(self) -> None:
        folder = self._folder.path
        self._etcd_port, port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{port}"
        self.certificate = folder / "certificates" / "apiserver.crt"
        etcd = self._launch_etcd(folder)
        self._api_server = self._launch_api_server(folder, port)
        etcd.wait_for(lambda: self._etcd_answers(etcd))
        self._api_server.wait_for(self._has_certificate)
        self.api = KubernetesApi(self.url, self.certificate, self._token)
        self.kubeconfig = self._write_kubeconfig("admin", self._token, self.url)
        self._api_server.wait_for(self._is_ready)
        self.api.apply(DEFINITION)
        self._logs = PodLogs(folder / "logs")
        self._launch_controllers(folder)
        self._add_nodes()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._servers[2].wait_for(lambda: self.api.exists(account))
        self._kwok.wait_for(self._nodes_are_ready)

    def _has_certificate(self) -> bool:
        """The API server makes it, and writes it while we look: a file that is there may be empty yet."""
        return self.certificate.exists() and self.certificate.read_text().rstrip().endswith("-----END CERTIFICATE-----")

    def _server(self, name: str, command: Sequence[str | Path]) -> Server:
        server = Server(name, command, self._folder.path)
        self._servers.append(server)
        server.start()
        return server

    def _launch_etcd(self, folder: Path) -> Server:
        peers = f"http://127.0.0.1:{free_port()}"
        clients = f"http://127.0.0.1:{self._etcd_port}"
        binary = _etcd()
        assert binary is not None
        command: list[str | Path] = [
            binary, f"--data-dir={folder}/etcd", f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}",
        ]  # fmt: skip
        return self._server("etcd", command)

    def _launch_api_server(self, folder: Path, port: int) -> Server:
        key, tokens = folder / "service-accounts.key", folder / "tokens.csv"
        tokens.write_text(f'{self._token},admin,admin,"system:masters"\n')
        tokens.chmod(0o600)
        make_key = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(key)]
        subprocess.run(make_key, check=True, capture_output=True)
        command: list[str | Path] = [
            _api_server(), f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", f"--secure-port={port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={folder}/certificates",
            "--service-cluster-ip-range=10.96.0.0/16", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=ExternalIP",  # which is where KWOK listens
            f"--watch-cache={str(self._watch_cache).lower()}",
            "--feature-gates=WatchList=false",  # needs etcd 3.5, and clients that try it without wait in vain
        ]  # fmt: skip
        return self._server("kube-apiserver", command)

    def _launch_controllers(self, folder: Path) -> None:
        binaries = build.kubernetes_folder()
        config = f"--kubeconfig={self.kubeconfig}"
        common = [config, "--leader-elect=false", "--bind-address=127.0.0.1"]
        key = f"--service-account-private-key-file={folder}/service-accounts.key"
        root = f"--root-ca-file={self.certificate}"
        fast = ["--kube-api-qps=300", "--kube-api-burst=600"]
        manager: list[str | Path] = [
            binaries / "kube-controller-manager",
            *common,
            *fast,
            f"--secure-port={free_port()}",
            key,
            root,
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=0s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=0s",
        ]
        self._server("kube-controller-manager", manager)
        scheduler: list[str | Path] = [binaries / "kube-scheduler", *common, *fast, f"--secure-port={free_port()}"]
        self._server("kube-scheduler", scheduler)
        behaviour = folder / "stages.yaml"
        behaviour.write_text(f"{stages()}---\n{self._logs.silence()}")
        port = free_port()
        pretends = [
            f"--manage-nodes-with-label-selector={_KUBELET}=runs",
            "--cidr=10.244.0.0/16", "--node-lease-duration-seconds=40", "--enable-crds=Logs",
            f"--server-address=127.0.0.1:{port}", f"--node-port={port}",
            f"--tls-cert-file={self.certificate}", f"--tls-private-key-file={self.certificate.with_suffix('.key')}",
        ]  # fmt: skip
        self._kwok = self._server("kwok", [binaries / "kwok", config, f"--config={behaviour}", *pretends])

    def _add_nodes(self) -> None:
        for number in range(self._nodes):
            metadata = {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}", _KUBELET: "runs"}}
            self.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})

    def _write_kubeconfig(self, name: str, token: str, url: str) -> Path:
        authority = b64encode(self.certificate.read_bytes()).decode()
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "peer", "cluster": {"server": url, "certificate-authority-data": authority}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "peer", "context": {"cluster": "peer", "user": name}}],
            "current-context": "peer",
        }
        path = self._folder.path / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(body))
        return path

    # -- What it waits for

    def _etcd_answers(self, etcd: Server) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._etcd_port}/health", trust_env=False).is_success and etcd.running
        except httpx.HTTPError:
            return False

    def _is_ready(self) -> bool:
        return self.api.ready()

    def _nodes_are_ready(self) -> bool:
        nodes = self.api.items("/api/v1/nodes")
        ready = [
            condition["status"] == "True"
            for node in nodes
            for condition in node.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready"
        ]
        return len(ready) == self._nodes and all(ready) and not any(node["spec"].get("taints") for node in nodes)

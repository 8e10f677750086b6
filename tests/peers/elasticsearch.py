"""Real Elasticsearch 6 and 7 and OpenSearch 2, from the distributions that Maven Central holds for plugin authors.

Two generations of Elasticsearch, because `hits.total` is a number before 7 and an object since. They refuse root, so
they run as `nobody`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import httpx
import yaml

from tests.peers import build
from tests.peers.process import Folder, Server, free_port, give_away
from tests.peers.programs import java

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Make:
    """What differs between the makes."""

    main: str
    prefix: str
    settings: Mapping[str, Any]
    bulk: str


_COMMON: Final = MappingProxyType(
    {
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
)
_MAKES: Final[Mapping[str, _Make]] = MappingProxyType(
    {
        "elasticsearch-7": _Make(
            "org.elasticsearch.bootstrap.Elasticsearch", "es", {"xpack.security.enabled": False, "transport.port": 0}, "_bulk"
        ),
        "elasticsearch-6": _Make("org.elasticsearch.bootstrap.Elasticsearch", "es", {"transport.tcp.port": 0}, "_doc/_bulk"),
        "opensearch-2": _Make("org.opensearch.bootstrap.OpenSearch", "opensearch", {"transport.port": 0}, "_bulk"),
    }
)
_JVM: Final = (
    "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Djna.nosys=true",
    "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true", "-Dio.netty.recycler.maxCapacityPerThread=0",
    "-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true", "-Djava.security.manager=allow",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
)  # fmt: skip
_LOGGING: Final = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class SearchServer:
    """One node of `elasticsearch-7`, `elasticsearch-6` or `opensearch-2` on loopback, without TLS and login."""

    def __init__(self, make: str = "elasticsearch-7") -> None:
        self.make = make

    @staticmethod
    def available(make: str = "elasticsearch-7") -> str | None:
        """See Peer.available."""
        if java() is None:
            return "Java 17 is missing (Debian package openjdk-17-jre-headless)"
        if not build.search_folder(make).is_dir():
            return f"{make} is missing: run `python -m tests.peers.build {make}`"
        return None

    def __enter__(self) -> Self:
        self._folder = Folder(self.make)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        try:
            self.server = self._prepared(port)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        if hasattr(self, "server"):
            self.server.kill()
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        version = build.SEARCH_SERVERS[self.make][1]
        return [f"{self.make} ({version}) at {self.url}; log in {self.server.log}", f"  curl {self.url}/_cat/indices?v"]

    def start(self) -> None:
        """Start it (again, with the same documents) and wait until it takes requests."""
        self.server.start()
        self.server.wait_for(self._serves, 90)

    def request(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Send anything; the answer is given back whatever its status."""
        return self._client.request(method, path, json=body)

    def index(self, index: str, documents: Iterable[Json]) -> None:
        """Add documents and make them searchable at once."""
        lines = [line for document in documents for line in ('{"index":{}}', json.dumps(document))]
        answer = self._client.post(
            f"/{index}/{_MAKES[self.make].bulk}?refresh=true",
            content="\n".join(lines) + "\n",
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        assert not answer.json()["errors"], answer.text

    def delete(self, index: str) -> None:
        """Remove an index, or several by a pattern."""
        self.request("DELETE", f"/{index}?ignore_unavailable=true&expand_wildcards=open")

    def count(self, index: str, query: Json) -> int:
        """How many documents match."""
        answer = self.request("POST", f"/{index}/_count", {"query": query})
        assert answer.is_success, answer.text
        found: int = answer.json()["count"]
        return found

    def _serves(self) -> bool:
        try:
            answer = self._client.get("/_cluster/health?wait_for_status=yellow&timeout=1s", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.is_success

    def _prepared(self, port: int) -> Server:
        """Lay out a home of its own: the libraries linked, settings and data its account's property."""
        home, make = self._folder.path, _MAKES[self.make]
        for part in ("lib", "modules"):
            shutil.copytree(build.search_folder(self.make) / part, home / part, copy_function=_link)
        for part in ("config", "data", "logs", "plugins", "tmp"):
            (home / part).mkdir()
        scratch = home / "tmp"
        settings = {**_COMMON, **make.settings, "http.port": port}
        main = "elasticsearch" if make.prefix == "es" else "opensearch"
        (home / "config" / f"{main}.yml").write_text(yaml.safe_dump(settings))
        (home / "config" / "log4j2.properties").write_text(_LOGGING)
        for part in ("", "config", "data", "logs", "plugins", "tmp"):
            give_away(home / part, deep=bool(part))
        marks = {
            "path.home": home,
            "path.conf": home / "config",
            "distribution.type": "zip",
            "distribution.flavor": "oss",
            "bundled_jdk": "false",
        }
        properties = [f"-D{make.prefix}.{key}={value}" for key, value in marks.items()]
        command = [java() or "java", *_JVM, f"-Djava.io.tmpdir={scratch}", *properties, "-cp", f"{home}/lib/*", make.main]
        return Server(self.make, command, home, environment={"LIBFFI_TMPDIR": str(scratch)}, as_root=False)


def fluentd_record(pod: str, namespace: str, at: str, text: str, *, ip: str = "", labels: Mapping[str, str] | None = None) -> Json:
    """One log line as fluentd's kubernetes_metadata filter writes it. `at` is RFC 3339."""
    kubernetes = {
        "namespace_name": namespace,
        "pod_name": pod,
        "pod_id": f"uid-of-{pod}",
        "container_name": "app",
        "host": "node-0",
        "labels": dict(labels or {}),
    }
    if ip:
        kubernetes["pod_ip"] = ip
    return {
        "@timestamp": at,
        "log": text + "\n",
        "stream": "stdout",
        "docker": {"container_id": "0" * 12},
        "kubernetes": kubernetes,
    }


def _link(source: str, target: str) -> str:
    """Link a file, or copy it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    Path(target).chmod(0o644)
    return target

"""A real Prometheus (Debian's) that scrapes what a test tells it to, once a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx
import yaml

from tests.peers import exporter
from tests.peers.process import Folder, Server, free_port, on_path


class Prometheus:
    """Prometheus on loopback.

    `targets` are host:port of gateway exporters; `rules` are alerting rules as in a rule file's group.
    """

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        rules: Sequence[Mapping[str, Any]] = (),
        alertmanagers: Sequence[str] = (),
        scrape: str = "1s",
    ) -> None:
        self._targets = list(targets)
        self._rules = [dict(rule) for rule in rules]
        self._alertmanagers = list(alertmanagers)
        self._scrape = scrape

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        return None if on_path("prometheus") else "prometheus is missing (Debian package prometheus)"

    def __enter__(self) -> Self:
        self._folder = Folder("prometheus")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        folder = self._folder.path
        command = [
            on_path("prometheus") or "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle",
        ]  # fmt: skip
        self.server = Server("prometheus", command, folder)
        try:
            self._configure()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        self.server.kill()
        self._folder.remove()

    def describe(self) -> Sequence[str]:
        """See Peer.describe."""
        return [f"Prometheus at {self.url}, scraping {', '.join(self._targets) or 'nothing'}; log in {self.server.log}"]

    def start(self) -> None:
        """Start it (again) and wait until it answers queries; its samples are kept."""
        self.server.start()
        self.server.wait_for(self._ready)

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.server.kill()
        self.start()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): the system takes connections for it, nothing is answered."""
        self.server.pause()

    def resume(self) -> None:
        """End `pause`."""
        self.server.resume()

    def scrape(self, *targets: str) -> None:
        """Scrape these from now on instead."""
        self._targets = list(targets)
        self._reload()

    def alert(self, *rules: Mapping[str, Any]) -> None:
        """Evaluate these alerting rules from now on, once a second:

        `{"alert": name, "expr": promql, "labels": {...}}`.
        """
        self._rules = [dict(rule) for rule in rules]
        self._reload()

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Ask now; the vector's samples."""
        answer = self._client.post("/api/v1/query", data={"query": promql}).raise_for_status().json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing alerts."""
        found: list[dict[str, Any]] = self._client.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return found

    def _ready(self) -> bool:
        try:
            return self._client.get("/-/ready").is_success
        except httpx.HTTPError:
            return False

    def _reload(self) -> None:
        self._configure()
        self._client.post("/-/reload").raise_for_status()

    def _configure(self) -> None:
        folder = self._folder.path
        jobs = [{"job_name": "apisix", "metrics_path": exporter.PATH, "static_configs": [{"targets": self._targets}]}]
        config: dict[str, Any] = {
            "global": {"scrape_interval": self._scrape, "scrape_timeout": self._scrape, "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": jobs,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self._alertmanagers}]}]},
        }
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "tests", "rules": self._rules}]}))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

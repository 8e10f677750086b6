"""A real Alertmanager (Debian's), with a webhook receiver if a test names one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx
import yaml

from tests.peers.process import Folder, Server, free_port, on_path

_PROGRAMS = ("prometheus-alertmanager", "alertmanager")


class Alertmanager:
    """Alertmanager on loopback.

    It groups for a moment only, and posts to `webhook` (with a bearer `token`, if one is given).
    """

    def __init__(self, webhook: str | None = None, *, token: str | None = None) -> None:
        self._webhook = webhook
        self._token = token

    @staticmethod
    def available() -> str | None:
        """See Peer.available."""
        return None if on_path(*_PROGRAMS) else "alertmanager is missing (Debian package prometheus-alertmanager)"

    def __enter__(self) -> Self:
        self._folder = Folder("alertmanager")
        port = free_port()
        self.target = f"127.0.0.1:{port}"
        self.url = f"http://{self.target}"
        self._client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        folder = self._folder.path
        command = [
            on_path(*_PROGRAMS) or _PROGRAMS[0], f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data",
            f"--web.listen-address={self.target}", "--cluster.listen-address=",
        ]  # fmt: skip
        self.server = Server("alertmanager", command, folder)
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
        return [f"Alertmanager at {self.url}; log in {self.server.log}"]

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        self.server.start()
        self.server.wait_for(self._ready)

    def post_to(self, webhook: str | None, *, token: str | None = None) -> None:
        """Send notifications there from now on."""
        self._webhook, self._token = webhook, token
        self._configure()
        self._client.post("/-/reload").raise_for_status()

    def fire(self, alertname: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None) -> None:
        """Report an alert as Prometheus would; it ends by itself after 5 minutes unless it is repeated."""
        alert = {"labels": {"alertname": alertname, **(labels or {})}, "annotations": dict(annotations or {})}
        self._client.post("/api/v2/alerts", json=[alert]).raise_for_status()

    def resolve(self, alertname: str, labels: Mapping[str, str] | None = None) -> None:
        """Report that an alert ended."""
        long_ago = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:01Z"}
        alert = {"labels": {"alertname": alertname, **(labels or {})}, **long_ago}
        self._client.post("/api/v2/alerts", json=[alert]).raise_for_status()

    def silence(self, alertname: str) -> None:
        """Silence an alert for a long time."""
        matchers = [{"name": "alertname", "value": alertname, "isRegex": False, "isEqual": True}]
        span = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"}
        body = {"matchers": matchers, **span, "createdBy": "tests", "comment": "a test"}
        self._client.post("/api/v2/silences", json=body).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """All alerts that it knows, silenced ones too."""
        found: list[dict[str, Any]] = self._client.get("/api/v2/alerts").raise_for_status().json()
        return found

    def _ready(self) -> bool:
        try:
            return self._client.get("/-/ready").is_success
        except httpx.HTTPError:
            return False

    def _configure(self) -> None:
        receiver: dict[str, Any] = {"name": "rollout"}
        if self._webhook is not None:
            hook: dict[str, Any] = {"url": self._webhook, "send_resolved": True}
            if self._token is not None:
                hook["http_config"] = {"authorization": {"type": "Bearer", "credentials": self._token}}
            receiver["webhook_configs"] = [hook]
        route = {"receiver": "rollout", "group_by": ["..."], "group_wait": "100ms", "group_interval": "1s", "repeat_interval": "1h"}
        (self._folder.path / "alertmanager.yml").write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))

"""Fixtures with the real servers, started once per test session and process; loaded by tests/conftest.py as a plugin.

Where a server cannot run, its tests are skipped with the reason, or fail with ROLLOUT_REQUIRE_PEERS=1 (as in CI). A
test that uses one of these carries the marker `peer` with the server's name, and, for pytest-xdist's `--dist
loadgroup`, stays on the process that already runs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Final
from uuid import uuid4

import pytest

from tests.peers.alertmanager import Alertmanager
from tests.peers.elasticsearch import SearchServer
from tests.peers.exporter import GatewayExporter
from tests.peers.kubernetes import KubernetesControlPlane
from tests.peers.mariadb import MariaDb
from tests.peers.oap import OapServer
from tests.peers.postgresql import PostgreSql
from tests.peers.process import Available
from tests.peers.prometheus import Prometheus

REQUIRE: Final = "ROLLOUT_REQUIRE_PEERS"
_SUFFIX: Final = "_peer"
_LONG: Final = ("end_to_end_real", "end_to_end")
_APART: Final = frozenset({"test_bad_versions", "test_outages"})


def require(available: Available) -> None:
    """Skip the test, or fail where servers are required, if this server cannot run.

    For tests that start one of their own.
    """
    reason = available()
    if reason is None:
        return
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that use a real server. Where several processes share the tests, those that take minutes begin."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place)
    for item in items:
        fixtures: list[str] = [*getattr(item, "fixturenames", [])]
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            # A test may be given the fixture's name as a parameter and ask for it while it runs.
            fixtures += [value for value in item.callspec.params.values() if isinstance(value, str)]
        names = sorted(name.removesuffix(_SUFFIX) for name in fixtures if name.endswith(_SUFFIX))
        for name in names:
            item.add_marker(pytest.mark.peer(name))
        if names:
            item.add_marker(pytest.mark.xdist_group(_group(item, names)))


def _place(item: pytest.Item) -> int:
    """Number the kinds of tests by how long they take: what ends last should not begin last."""
    folder = item.path.parent.name
    return _LONG.index(folder) if folder in _LONG else len(_LONG)


def _group(item: pytest.Item, names: list[str]) -> str:
    """Name the process of pytest-xdist on which a test runs: the one that has its servers.

    Whole rollouts take minutes in which little is computed: they have servers of their own, so that the contract suites, which
    want the same ones, are played beside them and not after them; and in three groups, because one would be the longest by far.
    """
    if item.path.parent.name == "end_to_end_real":
        return f"whole-rollouts-{item.path.stem if item.path.stem in _APART else 'others'}"
    return next((name for name in names if name != "exporter"), names[0])


@pytest.fixture(scope="session")
def kubernetes_peer() -> Iterator[KubernetesControlPlane]:
    """A Kubernetes control plane. Use a namespace of your own in it."""
    require(KubernetesControlPlane.available)
    with KubernetesControlPlane() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def exporter_peer() -> Iterator[GatewayExporter]:
    """Gateway metrics that a test drives; `prometheus_peer` scrapes them."""
    with GatewayExporter() as exporter:
        yield exporter


@pytest.fixture(scope="session")
def alertmanager_peer() -> Iterator[Alertmanager]:
    """An Alertmanager; `prometheus_peer` sends its alerts there."""
    require(Alertmanager.available)
    with Alertmanager() as alertmanager:
        yield alertmanager


@pytest.fixture(scope="session")
def prometheus_peer(exporter_peer: GatewayExporter) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `exporter_peer` every second. Use routes or pod IPs of your own in it."""
    require(Prometheus.available)
    with Prometheus([exporter_peer.target]) as prometheus:
        yield prometheus


@pytest.fixture(scope="session")
def postgresql_peer() -> Iterator[PostgreSql]:
    """A PostgreSQL. Whoever kills, stops or pauses it starts or resumes it again."""
    require(PostgreSql.available)
    with PostgreSql() as server:
        yield server


@pytest.fixture
def postgresql_database(postgresql_peer: PostgreSql) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database of the test's own."""
    name = f"test_{uuid4().hex}"
    yield postgresql_peer.create_database(name)
    postgresql_peer.drop_database(name)


@pytest.fixture(scope="session")
def mariadb_peer() -> Iterator[MariaDb]:
    """A MariaDB."""
    require(MariaDb.available)
    with MariaDb() as server:
        yield server


@pytest.fixture(scope="session")
def oap_peer() -> Iterator[OapServer]:
    """A SkyWalking OAP server. Use services of your own in it."""
    require(OapServer.available)
    with OapServer() as server:
        yield server


def _search_server(make: str) -> Iterator[SearchServer]:
    require(partial(SearchServer.available, make))
    with SearchServer(make) as server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch_peer() -> Iterator[SearchServer]:
    """Elasticsearch 7. Use indices of your own in it."""
    yield from _search_server("elasticsearch-7")


@pytest.fixture(scope="session")
def elasticsearch6_peer() -> Iterator[SearchServer]:
    """Elasticsearch 6, where `hits.total` is a number."""
    yield from _search_server("elasticsearch-6")


@pytest.fixture(scope="session")
def opensearch_peer() -> Iterator[SearchServer]:
    """OpenSearch 2."""
    yield from _search_server("opensearch-2")

"""Gets the servers that no Debian package holds, and keeps them in `~/.cache/rollout-peers`.

Started by `.ci/peers`, or by hand as `python -m tests.peers.build [kubernetes|oap|elasticsearch ...]`. Whatever is in
the cache already is left alone, so a second run takes no time. Each thing sits in a folder whose name says its
version (for Kubernetes also a digest of our Go files), and is moved there only when it is complete. Standard library
only: this runs before any virtual environment exists.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tests.peers import programs

HERE = Path(__file__).parent
OAP_VERSION = "10.1.0"
_MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"

# Server distributions on Maven Central: our name for it -> (group and artifact, version).
# The `integ-test-zip` ones are the servers that plugin authors test against: complete but for most modules.
SEARCH_SERVERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "elasticsearch-7": ("org.elasticsearch.distribution.integ-test-zip:elasticsearch", "7.17.28"),
        "elasticsearch-6": ("org.elasticsearch.distribution.zip:elasticsearch-oss", "6.8.23"),
        "opensearch-2": ("org.opensearch.distribution.integ-test-zip:opensearch", "2.19.1"),
    }
)


def cache() -> Path:
    """The folder that outlives checkouts. Honours XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rollout-peers"


def kubernetes_version() -> str:
    """The pinned version, as go.mod says it, such as `v1.36.3`."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (HERE / "kubernetes" / "go.mod").read_text())
    assert found is not None, "go.mod does not pin k8s.io/kubernetes"
    return found[1]


def kubernetes_folder() -> Path:
    """Where kube-apiserver, kube-controller-manager, kube-scheduler, kwok and kubectl are after the build."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((HERE / "kubernetes" / name).read_bytes())
    return cache() / f"kubernetes-{kubernetes_version()}-{digest.hexdigest()[:12]}"


def oap_folder() -> Path:
    """Where the jars of the SkyWalking OAP server are."""
    return cache() / f"skywalking-oap-{OAP_VERSION}"


def search_folder(name: str) -> Path:
    """Where the unpacked distribution of one of SEARCH_SERVERS is."""
    return cache() / f"{name}-{SEARCH_SERVERS[name][1]}"


def _go() -> Path:
    """A Go that can build this: the machine's, or one that an older Go of the machine (Debian's) fetches as a module."""
    fits = programs.go()
    if fits is not None:
        return fits
    needed = re.search(r"^go (\S+)$", (HERE / "kubernetes" / "go.mod").read_text(), re.MULTILINE)
    assert needed is not None, "go.mod does not say which Go it needs"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    module = f"golang.org/toolchain@v0.0.1-go{needed[1]}.{sys.platform}-{machine}"
    with tempfile.TemporaryDirectory() as nowhere:
        told = subprocess.run(["go", "mod", "download", "-json", module], cwd=nowhere, check=True, stdout=subprocess.PIPE).stdout
    folder = Path(json.loads(told)["Dir"])
    for program in (*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").rglob("*")):
        program.chmod(0o755)  # a module's zip does not keep what may be executed
    return folder / "bin" / "go"


def build_kubernetes(target: Path) -> None:
    """Compile the control plane (about 4 min and 2.3 GB on 2 cores), KWOK, and kubectl."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    stamp = "k8s.io/component-base/version"
    flags = f"-s -w -X {stamp}.gitVersion={version} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    go = _go()
    # GOTOOLCHAIN: Debian's Go would otherwise not fetch the newer one that go.mod asks for.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath", "GOTOOLCHAIN": "auto"}
    packages = {"control-plane": ".", "kwok": "sigs.k8s.io/kwok/cmd/kwok", "kubectl": "k8s.io/kubernetes/cmd/kubectl"}
    for output, package in packages.items():
        command = ["nice", "-n", "10", str(go), "build", "-ldflags", flags, "-o", str(target / output), package]
        subprocess.run(command, cwd=HERE / "kubernetes", env=environment, check=True)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        (target / name).symlink_to("control-plane")


def build_oap(target: Path) -> None:
    """Copy the OAP server's jars (130 MB)."""
    goal = f"{_MAVEN_PLUGIN}:copy-dependencies"
    pom = HERE / "oap" / "pom.xml"
    subprocess.run(["mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(pom), goal, f"-DoutputDirectory={target}"], check=True)


def build_search(name: str, target: Path) -> None:
    """Fetch and unpack one search server (30 to 70 MB)."""
    artifact, version = SEARCH_SERVERS[name]
    with tempfile.TemporaryDirectory() as scratch:
        coordinates = f"-Dartifact={artifact}:{version}:zip"
        command = [
            "mvn",
            "-B",
            "-q",
            "-Dstyle.color=never",
            f"{_MAVEN_PLUGIN}:copy",
            coordinates,
            f"-DoutputDirectory={scratch}",
        ]
        subprocess.run(command, cwd=scratch, check=True)
        (downloaded,) = Path(scratch).glob("*.zip")
        with zipfile.ZipFile(downloaded) as archive:
            archive.extractall(scratch)
        (unpacked,) = (found for found in Path(scratch).iterdir() if found.is_dir())
        for part in unpacked.iterdir():
            shutil.move(part, target / part.name)


def recipes() -> dict[str, tuple[Path, Callable[[Path], None]]]:
    """Everything that can be built: its name, its folder, and what fills the folder."""
    found: dict[str, tuple[Path, Callable[[Path], None]]] = {
        "kubernetes": (kubernetes_folder(), build_kubernetes),
        "oap": (oap_folder(), build_oap),
    }
    for name in SEARCH_SERVERS:
        found[name] = (search_folder(name), partial(build_search, name))
    return found


def ensure(name: str) -> None:
    """Build one thing unless the cache has it."""
    folder, build = recipes()[name]
    if folder.is_dir():
        print(f"{name}: in {folder}")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with (folder.parent / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
            try:
                build(scratch)
                scratch.chmod(0o755)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    print(f"{name}: {time.perf_counter() - started:.0f} s, in {folder}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.build", description="Build or fetch the servers for the tests.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(recipes())}; all without")
    wanted: list[str] = parser.parse_args().names or list(recipes())
    unknown = [name for name in wanted if name not in recipes()]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(recipes())}")
    for name in wanted:
        ensure(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

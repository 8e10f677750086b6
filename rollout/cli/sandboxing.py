"""`rollout sandbox`: a pretend cluster with its backends on loopback, and the files with which to play on it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer
import yaml

from rollout.adapters.clock import SystemClock
from rollout.adapters.resources import config_folder
from rollout.cli.demo_offline import plan_text
from rollout.cli.stage import settings_for
from rollout.core.errors import Problem, Refused
from rollout.sandbox.control import NAME as CONTROL
from rollout.sandbox.control import Control
from rollout.sandbox.serve import GATEWAY, Sandbox, SandboxOptions, manifests_in
from rollout.sandbox.shop import IMAGES, Shop

EXAMPLE = "canary-nginx.yaml"
QUICK = "canary-quick.yaml"
OFFLINE = "offline-orders.yaml"
LOCK = ".sandbox"
LEAD = timedelta(minutes=6)
"""From the start of the sandbox to that of its maintenance."""
WARM_UP = timedelta(minutes=30)

QUICK_PLAN = """\
# The documented procedure with minutes for hours, for the sandbox: about a quarter of an hour in all.
apiVersion: rollout/v1
kind: Canary
metadata:
  name: nginx-quick
spec:
  target: {namespace: default, stable: nginx, service: nginx-svc}
  image: nginx:1.28.0
  replicas: {every: 2m}
  soak: 6m
  maxSoak: 30m
  warmUp: 30s
  promotion: {pace: 20s, watch: 2m, progressDeadline: 5m}
  signals:
    - {preset: apisix-5xx, window: 1m}
    - {preset: skywalking-traces, window: 1m}
    - {preset: error-logs, window: 1m, delay: 30s}
"""

HELP = """\
A pretend cluster runs; Ctrl-C ends it. In another terminal:

  export KUBECONFIG={folder}/kubeconfig
  kubectl get deployments,pods -o wide
  kubectl set image deployment/nginx nginx=nginx:1.27.5     # hands reach in, as in real life

  rollout serve --config {folder}/rollout.yaml              # the daemon, in a third terminal
  rollout submit --config {folder}/rollout.yaml {folder}/{quick}
  rollout watch --config {folder}/rollout.yaml nginx-quick
  ({folder}/{example} is the documented procedure: a day and more.)

  rollout preview --config {folder}/rollout.yaml {folder}/{offline}    # a maintenance of shop/orders behind the gateway
  rollout submit --config {folder}/rollout.yaml {folder}/{offline}     # begins 6 minutes from now (startAt in the file)
  curl --interface 127.0.0.2 {gateway}/orders/healthz       # from outside; without --interface: the allow-list

What goes wrong is up to you (GET {control}/ shows what can be):

  curl -d image=nginx:1.28.0 -d is=errs {control}/behaviours         # crashes, cannot-be-pulled, starts-slowly, is-slow
  curl -d image=nginx:1.28.0 -d errorRate=0.03 -d onset=2m {control}/behaviours
  curl -d image=nginx:1.28.0 -d is=healthy {control}/behaviours
  curl -d backend=prometheus -d failing=hang {control}/faults        # http-500, html (nonsense), cut, slow; none ends it

Notices: {webhooks}/   Backends: {backends}
"""


def run(folder: Path, speed: float) -> None:
    """Serve until SIGINT or SIGTERM. Raises Refused where the folder cannot be written."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    real = SystemClock()
    options = SandboxOptions(start=real.now() - WARM_UP, speed=speed, warm_up=WARM_UP)
    folder = folder.absolute()
    with alone(folder), Sandbox(real, options, manifests_in(config_folder() / "kubernetes" / "example")) as sandbox:
        Shop(sandbox)
        sandbox.serve(CONTROL, Control(sandbox.live, lambda: sandbox.urls).respond)
        try:
            write(sandbox, folder)
        except OSError as error:
            raise _unwritable(folder, error) from None
        typer.echo(words(sandbox, folder, speed))
        stopping.wait()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a folder to one sandbox while it runs: its files lead to its ports. The lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            remedy = "end it, or give this one another folder: rollout sandbox --folder NAME"
            problem = Problem("its files lead to that one", remedy=remedy)
            raise Refused(f"a sandbox runs in {folder} already (process {file.read() or 'unknown'})", (problem,)) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _unwritable(folder: Path, error: OSError) -> Refused:
    return Refused(f"{folder} cannot be written: {error.strerror}", (Problem("no place", remedy="--folder names another one"),))


def write(sandbox: Sandbox, folder: Path) -> None:
    """Write kubeconfig, configuration and two plans. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = sandbox.kubeconfig(folder / "kubeconfig")
    text = yaml.safe_dump(configuration(sandbox, folder, kubeconfig), sort_keys=False)
    (folder / "rollout.yaml").write_text(
        f"# For `rollout serve` on the sandbox; floors are low, so that a day fits into minutes.\n{text}"
    )
    (folder / QUICK).write_text(QUICK_PLAN)
    start = sandbox.clock.now() + LEAD
    about = "orders 3.0 with a new schema, about a quarter of an hour"
    plan = plan_text("orders-3-0", about, f"{IMAGES}:3.0.0", start, sandbox.urls[GATEWAY])
    (folder / OFFLINE).write_text(plan)
    shutil.copyfile(config_folder() / "plans" / EXAMPLE, folder / EXAMPLE)


def configuration(sandbox: Sandbox, folder: Path, kubeconfig: Path) -> dict[str, Any]:
    """Configure a daemon for this sandbox: everything it serves, a database beside it, floors that let a day take minutes."""
    return settings_for(sandbox.urls, kubeconfig) | {
        "database": {"url": f"sqlite:///{folder / 'rollout.db'}"},
        "http": {"port": 8080},
        "policy": {"minimumSoak": "1s", "minimumInterval": "1s"},
        "timing": {"lookEvery": "5s", "longestGap": "15s", "saveEvery": "5s", "lease": "5s", "askEvery": "1s", "outboxEvery": "1s"},
    }


def words(sandbox: Sandbox, folder: Path, speed: float) -> str:
    """Say what can be typed now."""
    urls = sandbox.urls
    backends = ", ".join(f"{name} {url}" for name, url in urls.items() if name not in {CONTROL, "webhooks"})
    text = HELP.format(
        folder=folder,
        quick=QUICK,
        example=EXAMPLE,
        offline=OFFLINE,
        gateway=urls[GATEWAY],
        control=urls[CONTROL],
        webhooks=urls["webhooks"],
        backends=backends,
    )
    if speed != 1:
        text += (
            f"\nIts time runs {speed:g} times as fast as the daemon's, whose windows will not fit it:"
            " for kubectl and curl this is fine, for `rollout serve` leave --speed at 1.\n"
        )
    return text

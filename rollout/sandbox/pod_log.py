"""What a pod wrote: its script, its start, and one error line for each error of the simulated traffic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rollout.sandbox.http import Request, Response, text_response
from rollout.sandbox.kube_objects import ApiError, parse_stamp, uid_of
from rollout.sandbox.world import World

_STEP = timedelta(minutes=1)
_REACH = timedelta(hours=1)
_LIMIT = 10_000


def error_times(world: World, uid: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Tell when the pod's error lines in `[start, end)` were written: spread evenly over each piece of a minute."""
    at = start
    while at < end:
        until = min(at + _STEP - timedelta(seconds=at.timestamp() % _STEP.total_seconds()), end)
        lines = world.traffic.counts(uid, at, until).error_logs
        for index in range(lines):
            yield at + (until - at) * (index + 0.5) / lines
        at = until


def log_lines(world: World, uid: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    """Tell what a pod wrote in `[start, end)`, in order, with the time of each line."""
    began = world.traffic.started_at(uid)
    if began is None:
        return
    life = world.kubelet.lives.get(uid)
    if start <= began < end:
        yield began, "INFO  started, listening on :80"
        script = world.behaviours.at(life.images, began).log if life is not None else ()
        for line in script:
            yield began, line
    for at in error_times(world, uid, max(start, began), end):
        yield at, "ERROR request failed: upstream answered 500 (java.lang.IllegalStateException: order not found)"


def log_text(world: World, namespace: str, name: str, request: Request) -> Response:
    """Answer `pods/NAME/log` with sinceSeconds, sinceTime, tailLines, limitBytes, timestamps. Raises ApiError 404, 400."""
    pod = world.get("pods", namespace, name)
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if len(containers) > 1 and not request.one("container"):
        words = f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
        raise ApiError(400, "BadRequest", words)
    began = world.traffic.started_at(uid_of(pod))
    if began is None:
        container = pod["spec"]["containers"][0]["name"]
        words = f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
        raise ApiError(400, "BadRequest", words)
    start = max(began, world.now - _REACH)
    if request.one("sinceSeconds"):
        start = max(began, world.now - timedelta(seconds=float(request.one("sinceSeconds"))))
    elif request.one("sinceTime"):
        start = max(began, parse_stamp(request.one("sinceTime")))
    lines = list(log_lines(world, uid_of(pod), start, world.now + timedelta(microseconds=1)))[-_LIMIT:]
    if request.one("tailLines"):
        wanted = int(request.one("tailLines"))
        lines = lines[-wanted:] if wanted else []
    if request.one("timestamps") == "true":
        text = "".join(f"{at.isoformat(timespec='microseconds').replace('+00:00', 'Z')} {line}\n" for at, line in lines)
    else:
        text = "".join(f"{line}\n" for _, line in lines)
    if request.one("limitBytes"):
        text = text[: int(request.one("limitBytes"))]
    return text_response(text)

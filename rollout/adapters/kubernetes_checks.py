"""The checks of preflight about the target itself: the two Deployments, the Service before them, and the image. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rollout.adapters import kubernetes_slim as slim
from rollout.adapters.kubernetes_found import (
    Found,
    container,
    dig,
    mapping,
    ok,
    refused,
    rows,
    selects,
    template_labels,
    warning,
    words,
)
from rollout.adapters.kubernetes_slim import Document
from rollout.core.images import parse_image
from rollout.core.wording import plural
from rollout.ports import Check

EXAMPLE = "config/kubernetes/example shows the shape"


def deployments(found: Found) -> Iterator[Check]:
    """Both Deployments exist."""
    for key, name, document in (
        ("stable", found.target.stable, found.stable),
        ("canary", found.target.canary, found.canary),
    ):
        if not name:
            continue  # the offline procedure has no canary
        where = f"Deployment {found.target.namespace}/{name}"
        if document is not None:
            yield ok(key, f"{where} exists, with {plural(int(dig(document, 'spec', 'replicas') or 0), 'replica')}")
        elif "deployments" in found.denied:
            yield refused(key, f"{where} could not be read: {found.denied['deployments']}", "see the check `permissions`")
        else:
            yield refused(key, f"{where} does not exist", f"create it ({EXAMPLE}), or correct spec.target.{key} of the plan")


def containers(found: Found) -> Iterator[Check]:
    """The container is in both templates."""
    wanted = found.target.container
    for name, document in found.both:
        there = [str(c.get("name")) for c in rows(document, "spec", "template", "spec", "containers")]
        if wanted in there:
            yield ok("container", f"{name} has the container {wanted}")
        else:
            message = f"{name} has no container {wanted}, only {', '.join(there) or 'none'}"
            yield refused("container", message, "correct spec.target.container of the plan")


def canary_at_rest(found: Found) -> Iterator[Check]:
    """The canary is at 0 replicas."""
    if found.canary is None:
        return
    name, replicas = found.target.canary, dig(found.canary, "spec", "replicas")
    if replicas == 0:
        yield ok("canary at rest", f"{name} is at 0 replicas")
        return
    remedy = f"find out who runs it, then kubectl -n {found.target.namespace} scale deployment {name} --replicas=0"
    yield refused("canary at rest", f"{name} has {plural(int(replicas or 0), 'replica')} already, a canary starts from 0", remedy)


def service(found: Found) -> Iterator[Check]:
    """The Service exists and selects the pods of both Deployments, so that replicas decide the share."""
    target = found.target
    if not target.service:
        return
    if found.service is None:
        seen = found.denied.get("services") or f"Service {target.namespace}/{target.service} does not exist"
        yield refused("service", seen, "create it, selecting the label that both Deployments share, or correct spec.target.service")
        return
    selector = mapping(found.service, "spec", "selector")
    missed = [
        (name, template_labels(document))
        for name, document in found.both
        if not selector or any(template_labels(document).get(key) != value for key, value in selector.items())
    ]
    for name, labels in missed:
        message = f"Service {target.service} selects {words(selector)}, which misses the pods of {name} ({words(labels)})"
        yield refused("service", message, "select only the labels that the pods of both Deployments carry, such as app: nginx")
    if not missed and found.both:
        yield ok("service", f"Service {target.service} selects {words(selector)}: the pods of both Deployments")
    if dig(found.service, "spec", "publishNotReadyAddresses") is True:
        message = f"Service {target.service} publishes addresses that are not ready: a starting canary gets traffic at once"
        yield warning("service", message, "set publishNotReadyAddresses to false")


def selectors(found: Found) -> Iterator[Check]:
    """Neither Deployment's selector matches the other's pods."""
    if len(found.both) < 2:  # noqa: PLR2004 - there is nothing to overlap with
        return
    clean = True
    for (name, mine), (other, theirs) in (found.both, found.both[::-1]):
        selector, labels = mapping(mine, "spec", "selector"), template_labels(theirs)
        if selects(selector, labels):
            clean = False
            yield refused(
                "selectors",
                f"{name} selects {words(mapping(selector, 'matchLabels'))}, which also matches the pods of {other} "
                f"({words(labels)}): scaling, kubectl and autoscalers would count the pods of one as the other's",
                f"add a label that {other} does not have to the selector and to the pod template of {name} (for example "
                "role: release beside role: canary); a selector cannot be changed, so create the Deployment anew with it",
            )
    if clean:
        yield ok("selectors", "the selectors of the two Deployments do not overlap")


def readiness(found: Found) -> Iterator[Check]:
    """The container that changes has a readiness probe in both templates."""
    for name, document in found.both:
        one = container(document, found.target.container)
        if one is None:
            continue
        if one.get("readinessProbe"):
            yield ok("readiness probe", f"{name} has one")
        else:
            message = (
                f"{name}: the container {found.target.container} has no readiness probe: a pod gets traffic before it can serve"
            )
            yield refused("readiness probe", message, "add a readinessProbe that fails while the service cannot answer")


def strategy(found: Found) -> Iterator[Check]:
    """The stable rolls one pod at a time."""
    if found.stable is None:
        return
    stable = slim.deployment(found.stable).deployment
    patch = (
        f"kubectl -n {found.target.namespace} patch deployment {stable.name} -p "
        '\'{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":1}}}}\''
    )
    if stable.strategy != "RollingUpdate":
        message = f"{stable.name} has the strategy {stable.strategy}, which stops every pod at once; RollingUpdate is expected"
        yield refused("strategy", message, patch)
    elif stable.max_unavailable > 1 or stable.max_surge > 1:
        seen = f"maxUnavailable {stable.max_unavailable}, maxSurge {stable.max_surge}"
        yield refused("strategy", f"{stable.name} would replace several pods at once ({seen}); at most 1 each is expected", patch)
    else:
        yield ok("strategy", f"{stable.name} rolls one pod at a time")


def rolled_out(found: Found) -> Iterator[Check]:
    """The stable serves, completely, and is not held by anybody."""
    if found.stable is None:
        return
    stable = slim.deployment(found.stable).deployment
    where = f"-n {found.target.namespace} deployment/{stable.name}"
    if stable.paused:
        yield refused("rolled out", f"{stable.name} is paused", f"find out who holds it, then kubectl rollout resume {where}")
    if stable.replicas == 0:
        message = f"{stable.name} is at 0 replicas: nothing serves, and there is nothing to compare a canary with"
        yield refused("rolled out", message, "scale it up first")
    elif not stable.rolled_out:
        seen = f"{stable.updated} of {stable.replicas} pods updated, {stable.available} available"
        yield refused("rolled out", f"{stable.name} is in the middle of something: {seen}", f"kubectl rollout status {where}")
    elif stable.replicas == 1:
        message = f"{stable.name} has 1 replica: one canary pod beside it would take half of the requests"
        yield warning(
            "rolled out", message, "run at least 10 replicas for a first share under 10 %, or state a larger share on purpose"
        )
    else:
        yield ok(
            "rolled out", f"{stable.name}: {stable.available} of {stable.replicas} pods available, all of the present template"
        )


def image(found: Found) -> Iterator[Check]:
    """The new image can be told from the present one, and the present one can be restored."""
    if not found.image:
        return  # doctor asks about a target before there is a new version
    if problem := _mutable(found.image):
        yield refused("image", f"{found.image} {problem}", "name a tag that is never moved, or a digest (name@sha256:...)")
    one = container(found.stable, found.target.container) if found.stable else None
    if one is None:
        return
    present, name = str(one.get("image", "")), found.target.stable
    if present == found.image:
        message = f"{name} runs {present} already: setting the same string rolls nothing, and restoring it restores nothing"
        yield refused("image", message, "name the new version by another tag, or by its digest")
    elif problem := _mutable(present):
        digest = _running_digest(found)
        remedy = f"kubectl -n {found.target.namespace} set image deployment/{name} {found.target.container}={digest}"
        yield refused("image", f"{name} runs {present}, which {problem}: stepping back to it might bring another version", remedy)
    elif not _mutable(found.image):
        yield ok("image", f"{present} -> {found.image}")
    if _repository(present) != _repository(found.image):
        message = f"{found.image} comes from another repository than {present}, which {name} runs"
        yield warning("image", message, "make sure that the plan names the right service")


def _mutable(reference: str) -> str:
    """Why a reference cannot be relied on; empty when it can."""
    try:
        parsed = parse_image(reference)
    except ValueError as error:
        return f"is no valid image reference ({error})"
    if parsed.digest:
        return ""
    if not parsed.tag:
        return "has no tag, which means :latest"
    return "has the tag latest, which moves" if parsed.tag == "latest" else ""


def _repository(reference: str) -> str:
    try:
        return parse_image(reference).repository
    except ValueError:
        return reference


def _running_digest(found: Found) -> str:
    """The digest that the stable's pods run, from a node's `imageID` (`docker.io/library/nginx@sha256:...`)."""
    for pod in found.pods:
        for state in rows(pod, "status", "containerStatuses"):
            identity = str(state.get("imageID") or "").removeprefix("docker-pullable://")
            if state.get("name") == found.target.container and "@" in identity and _of_stable(found, pod):
                return identity
    return "NAME@sha256:DIGEST"


def _of_stable(found: Found, pod: Document) -> bool:
    return slim.pod(pod).replica_set.rpartition("-")[0] == found.target.stable


CHECKS: tuple[Callable[[Found], Iterator[Check]], ...] = (
    deployments,
    containers,
    canary_at_rest,
    service,
    selectors,
    readiness,
    strategy,
    rolled_out,
    image,
)

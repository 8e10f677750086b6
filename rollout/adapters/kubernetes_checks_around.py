"""The checks of preflight about who else has a hand in the target, and what is inside its pods. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from rollout.adapters import kubernetes_slim as slim
from rollout.adapters.kubernetes_found import (
    Found,
    containers,
    dig,
    environment,
    mapping,
    name_of,
    ok,
    refused,
    rows,
    selects,
    template_labels,
    warning,
)
from rollout.adapters.kubernetes_slim import Document
from rollout.ports import Check

BY_HAND = re.compile(r"kubectl.*|before-first-apply|rollout|kube-controller-manager|unknown|\?")
"""Field managers that are people, ourselves, or the cluster's own controllers (autoscalers have a check of their own)."""
_JVM_DEBUG = re.compile(r"jdwp|-Xdebug|-Xrunjdwp|--inspect\b|debugpy|\bdlv\b")
_AGENT = re.compile(r"skywalking|-javaagent:\S*agent\.jar|\bSW_AGENT_", re.IGNORECASE)
_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def namespace(found: Found) -> Iterator[Check]:
    """The namespace is not being deleted."""
    if dig(found.namespace, "status", "phase") == "Terminating":
        message = f"namespace {found.target.namespace} is being deleted: nothing new can start in it"
        yield refused("namespace", message, "upgrade nothing here")


def autoscaling(found: Found) -> Iterator[Check]:
    """Nobody else scales the canary; who scales the stable is told."""
    owned = [("HorizontalPodAutoscaler", row, mapping(row, "spec", "scaleTargetRef")) for row in found.autoscalers]
    owned += [("KEDA ScaledObject", row, mapping(row, "spec", "scaleTargetRef")) for row in found.scaled_objects]
    clean = True
    for kind, row, reference in owned:
        if reference.get("kind", "Deployment") != "Deployment":
            continue
        if reference.get("name") == found.target.canary:
            clean = False
            message = f"the {kind} {name_of(row)} scales {found.target.canary}: it would undo every scale of ours, 0 included"
            remedy = f"kubectl -n {found.target.namespace} delete {kind.split()[-1].lower()} {name_of(row)}"
            yield refused("autoscaling", message, remedy)
        elif reference.get("name") == found.target.stable:
            span = f"{dig(row, 'spec', 'minReplicas') or 1} to {dig(row, 'spec', 'maxReplicas') or 'many'} replicas"
            yield ok("autoscaling", f"the {kind} {name_of(row)} scales {found.target.stable} ({span}); the share follows it")
    if clean and found.target.canary:
        yield ok("autoscaling", f"nobody else scales {found.target.canary}")


def ownership(found: Found) -> Iterator[Check]:
    """GitOps tools and foreign writers are named: they may put back what we write."""
    clean = True
    for name, document in found.both:
        for owner, sign in _owners(document):
            clean = False
            message = f"{name} belongs to {owner} ({sign}): its next synchronisation puts image and replicas back"
            remedy = f"let {owner} ignore spec.replicas and the image of {name}, or stop it for the time of the rollout"
            yield warning("ownership", message, remedy)
        writers = slim.writers(document)
        for written in ("replicas", f"image/{found.target.container}"):
            who = writers.get(written, "")
            if who and not BY_HAND.fullmatch(who):
                clean = False
                message = f"{who} was the last to write {written.split('/')[0]} of {name}, and may write it again"
                yield warning("ownership", message, f"find out what {who} does, and stop it for the time of the rollout")
    if clean and found.both:
        yield ok("ownership", "no GitOps tool and no foreign writer is known to own the two Deployments")


def _owners(document: Document) -> Iterator[tuple[str, str]]:
    meta = mapping(document, "metadata")
    marks = {**mapping(meta, "labels"), **mapping(meta, "annotations")}
    for owner, begin in (
        ("Argo CD", "argocd.argoproj.io/"),
        ("Flux", "kustomize.toolkit.fluxcd.io/"),
        ("Flux", "helm.toolkit.fluxcd.io/"),
    ):
        if sign := next((key for key in marks if key.startswith(begin)), ""):
            yield owner, sign
    if marks.get("app.kubernetes.io/managed-by") == "Helm":
        yield "Helm", "app.kubernetes.io/managed-by: Helm"


def permissions(found: Found) -> Iterator[Check]:
    """The API says that we may do everything that we must."""
    missing = [wanted for wanted, allowed in found.permitted.items() if not allowed]
    if missing:
        message = f"our account may not {', '.join(missing)} in namespace {found.target.namespace}"
        yield refused("permissions", message, "apply config/kubernetes/rbac.yaml with this namespace")
    elif found.permitted:
        yield ok("permissions", f"our account may do all {len(found.permitted)} things that it must")
    for resource, why in found.denied.items():
        if not any(resource in wanted for wanted in missing):
            yield warning(
                "permissions", f"{resource} could not be checked: {why}", "grant list, as config/kubernetes/rbac.yaml does"
            )


def agent(found: Found) -> Iterator[Check]:
    """The SkyWalking agent is in the pods, and its instances can be told apart by pod."""
    for name, document in found.both:
        text = _startup(document) + " ".join(template_labels(document)) + str(mapping(document, "metadata", "annotations"))
        variables = {key for one in containers(document) for key in environment(one)}
        if not _AGENT.search(text):
            message = f"{name}: no SkyWalking agent was found in the pod template"
            yield warning("skywalking agent", message, "expect no traces of it, or add the agent (init container and -javaagent)")
        elif "SW_AGENT_INSTANCENAME" in variables and "SW_AGENT_INSTANCE_NAME" not in variables:
            message = f"{name} sets SW_AGENT_INSTANCENAME, which the stock agent does not read: instances get random names"
            remedy = "set SW_AGENT_INSTANCE_NAME (with underscores) from status.podIP"
            yield warning("skywalking agent", message, remedy)
        else:
            yield ok("skywalking agent", f"{name}: the agent is in the pod template")


def debugging(found: Found) -> Iterator[Check]:
    """Nobody can halt the program at a breakpoint while it serves."""
    clean = True
    for name, document in found.both:
        for one in containers(document):
            variables = environment(one)
            switched = variables.get("JAVA_ENABLE_DEBUG", "").lower() not in {"", "false", "0", "no", "off"}
            match = _JVM_DEBUG.search(_command(one))
            if not switched and match is None:
                continue
            clean = False
            sign = f"JAVA_ENABLE_DEBUG={variables['JAVA_ENABLE_DEBUG']}" if switched else match.group() if match else ""
            where = f"the container {one.get('name')} of {name}"
            message = f"remote debugging is on in {where} ({sign}); a breakpoint would halt live requests"
            remedy = "remove it from the pod template; debug in a pod that serves nobody"
            yield (refused if name == found.target.canary else warning)("remote debugging", message, remedy)
    if clean and found.both:
        yield ok("remote debugging", "remote debugging is off in both pod templates")


def interception(found: Found) -> Iterator[Check]:
    """No Telepresence agent sends requests of these pods to somebody's laptop."""
    caught = [name_of(pod) for pod in found.pods if any(c.get("name") == "traffic-agent" for c in containers(pod, template=False))]
    if caught:
        message = f"a Telepresence traffic-agent is in {', '.join(sorted(caught)[:3])}{' and more' if len(caught) > 3 else ''}"  # noqa: PLR2004 - three names are enough
        remedy = "telepresence uninstall (or leave) the workload, then wait for its pods to be replaced"
        yield refused("telepresence", f"{message}: requests may be answered by a developer's machine", remedy)
    elif found.both:
        yield ok("telepresence", "no Telepresence agent intercepts the pods")


def budget(found: Found) -> Iterator[Check]:
    """Tell what a PodDisruptionBudget promises; it limits evictions, not our scaling."""
    for row in found.budgets:
        names = [name for name, d in found.both if selects(mapping(row, "spec", "selector"), template_labels(d))]
        if names:
            allowed = dig(row, "status", "disruptionsAllowed")
            yield ok("disruption budget", f"{name_of(row)} covers {' and '.join(names)}, {allowed} disruption(s) allowed now")


def quota(found: Found) -> Iterator[Check]:
    """One more pod fits into the namespace's quotas."""
    if found.canary is None:
        return
    needs = _needs(found.canary)
    for row in found.quotas:
        hard, used = mapping(row, "status", "hard"), mapping(row, "status", "used")
        for resource, need in needs.items():
            limit, taken = quantity(hard.get(resource)), quantity(used.get(resource, "0"))
            if limit is not None and taken is not None and taken + need > limit:
                message = f"ResourceQuota {name_of(row)}: {used.get(resource, 0)} of {hard.get(resource)} {resource} are used"
                yield warning("quota", f"{message}, one more pod does not fit", "raise the quota, or free room, before you start")


def _needs(deployment: Document) -> dict[str, Decimal]:
    """What one pod of a Deployment takes, under the names that quotas use (`cpu` is short for `requests.cpu`)."""
    needs = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for one in rows(deployment, "spec", "template", "spec", "containers"):
        for kind in ("requests", "limits"):
            for resource, text in mapping(one, "resources", kind).items():
                amount = quantity(text) or Decimal(0)
                names = (f"{kind}.{resource}", resource) if kind == "requests" else (f"{kind}.{resource}",)
                for name in names:
                    needs[name] = needs.get(name, Decimal(0)) + amount
    return needs


def quantity(text: Any) -> Decimal | None:  # noqa: ANN401 - a number or a text, as JSON has it
    """Read `100m`, `1.5Gi`, `2`, `1e3`; None for what is none of them."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", str(text))
    if match is None or match.group(2) not in _SUFFIXES:
        return None
    try:
        return Decimal(match.group(1)) * _SUFFIXES[match.group(2)]
    except InvalidOperation:
        return None


def _command(one: Document) -> str:
    words = [*(one.get("command") or ()), *(one.get("args") or ()), *environment(one).values()]
    return " ".join(str(word) for word in words)


def _startup(document: Document) -> str:
    parts = [f"{one.get('name')} {one.get('image')} {_command(one)} {' '.join(environment(one))}" for one in containers(document)]
    return " ".join(parts)


CHECKS: tuple[Callable[[Found], Iterator[Check]], ...] = (
    namespace,
    permissions,
    autoscaling,
    ownership,
    agent,
    debugging,
    interception,
    budget,
    quota,
)

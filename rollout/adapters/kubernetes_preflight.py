"""Preflight asks the cluster, once, everything that speaks for or against an upgrade of a target, and has it judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rollout.adapters import kubernetes_checks, kubernetes_checks_around, kubernetes_checks_offline
from rollout.adapters.kubernetes_api import Connection, Document, Request, failure
from rollout.adapters.kubernetes_found import Found, dig, mapping
from rollout.adapters.kubernetes_watch import PAGE
from rollout.core.target import Target
from rollout.ports import Check

FORBIDDEN, NOT_FOUND = 403, 404

NEEDED = (
    *((verb, "apps", "deployments") for verb in ("get", "list", "watch", "patch")),
    *((verb, "apps", "replicasets") for verb in ("list", "watch")),
    *((verb, "", "pods") for verb in ("list", "watch")),
    *((verb, "discovery.k8s.io", "endpointslices") for verb in ("list", "watch")),
    ("get", "", "services"),
    ("create", "", "events"),
)
"""Verb, API group and resource of everything that the daemon must be allowed to do in a namespace."""


def preflight(connection: Connection, target: Target, image: str) -> Sequence[Check]:
    """Run every check: those of a canary, or where the target has none those of a maintenance.

    Raises Unavailable where the API does not answer; what it forbids becomes a check.
    """
    found = gather(connection, target, image)
    canary = (*kubernetes_checks.CHECKS, *kubernetes_checks_around.CHECKS)
    checks = canary if target.canary else kubernetes_checks_offline.CHECKS
    return [line for check in checks for line in check(found)]


def gather(connection: Connection, target: Target, image: str) -> Found:
    """Read what the checks look at. Raises Unavailable, Rejected."""
    ask = _Asking(connection, {})
    space = target.namespace
    deployment = Request("get", "deployments", space, group="apps")
    core = Request("get", "", space)
    service = ask.one(replace(core, resource="services", name=target.service)) if target.service else None
    return Found(
        target,
        image,
        stable=ask.one(replace(deployment, name=target.stable)),
        canary=ask.one(replace(deployment, name=target.canary)) if target.canary else None,
        service=service,
        namespace=ask.one(Request("get", "namespaces", name=space), optional=True),
        pods=ask.many(replace(core, resource="pods"), labels=mapping(service, "spec", "selector")),
        autoscalers=ask.many(Request("list", "horizontalpodautoscalers", space, group="autoscaling", version="v2")),
        scaled_objects=ask.many(Request("list", "scaledobjects", space, group="keda.sh", version="v1alpha1"), optional=True),
        budgets=ask.many(Request("list", "poddisruptionbudgets", space, group="policy"), optional=True),
        quotas=ask.many(replace(core, resource="resourcequotas"), optional=True),
        permitted={_words(*wanted): ask.permitted(space, *wanted) for wanted in NEEDED},
        denied=ask.denied,
    )


class _Asking:
    """Asks, and remembers what was forbidden."""

    def __init__(self, connection: Connection, denied: dict[str, str]) -> None:
        self.connection = connection
        self.denied = denied

    def one(self, request: Request, *, optional: bool = False) -> Document | None:
        """Read one object; None when there is none, or when we may not read it."""
        reply = self.connection.ask(request)
        if reply.ok:
            return reply.document
        if reply.status == FORBIDDEN and not optional:
            self.denied[request.resource] = reply.message
        if reply.status in {FORBIDDEN, NOT_FOUND}:
            return None
        raise failure(self.connection.cluster, request, reply)

    def many(self, request: Request, *, optional: bool = False, labels: Mapping[str, str] | None = None) -> Sequence[Document]:
        """List objects; none where the cluster has no such API, or where we may not list them."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        query = (("limit", str(PAGE)), *((("labelSelector", selector),) if selector else ()))
        listing = replace(request, verb="list", query=query)
        answer = self.one(listing, optional=optional)
        return dig(answer, "items") or ()

    def permitted(self, namespace: str, verb: str, group: str, resource: str) -> bool:
        """Ask the API whether we may (SelfSubjectAccessReview); a cluster that cannot say is taken to allow it."""
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        request = Request("create", "selfsubjectaccessreviews", group="authorization.k8s.io", body=body)
        answer = self.one(request, optional=True)
        return answer is None or dig(answer, "status", "allowed") is True


def _words(verb: str, group: str, resource: str) -> str:
    return f"{verb} {resource}.{group}" if group else f"{verb} {resource}"

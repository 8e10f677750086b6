"""Who may do what: everything, but for what is denied on purpose, so that 403 and preflight can be tried."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.sandbox.kube_objects import ApiError, Json

USER = "system:serviceaccount:rollout:rollout"


@dataclass(frozen=True, slots=True)
class Denial:
    """One thing that is not allowed. `resource` may name a subresource (`deployments/scale`); `*` and empty mean any."""

    verb: str
    resource: str
    namespace: str = ""

    def covers(self, verb: str, resource: str, namespace: str) -> bool:
        """Say whether a request falls under it."""
        return (
            self.verb in {"*", "", verb}
            and self.resource in {"*", "", resource}
            and (self.namespace in {"*", ""} or self.namespace == namespace)
        )


class Rights:
    """The denials that hold: append to `denials`."""

    def __init__(self) -> None:
        self.denials: list[Denial] = []

    def allows(self, verb: str, resource: str, namespace: str) -> bool:
        """Say whether a request is allowed."""
        return not any(denial.covers(verb, resource, namespace) for denial in self.denials)

    def require(self, verb: str, group: str, resource: str, namespace: str, name: str) -> None:
        """Refuse what is denied. Raises ApiError 403 in the API server's words."""
        if self.allows(verb, resource, namespace):
            return
        subject = f'{resource.split("/", 1)[0]}{"." + group if group else ""} "{name}"' if name else resource
        where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
        words = f'{subject} is forbidden: User "{USER}" cannot {verb} resource "{resource}" in API group "{group}"{where}'
        raise ApiError(403, "Forbidden", words, {"name": name, "group": group, "kind": resource})

    def review(self, review: Json) -> Json:
        """Answer a SelfSubjectAccessReview."""
        asked = (review.get("spec") or {}).get("resourceAttributes") or {}
        resource = str(asked.get("resource", ""))
        if asked.get("subresource"):
            resource += f"/{asked['subresource']}"
        allowed = self.allows(str(asked.get("verb", "")), resource, str(asked.get("namespace", "")))
        status: Json = {"allowed": allowed} | ({} if allowed else {"reason": "denied in the sandbox"})
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        return {**kind, "metadata": {}, "spec": review.get("spec") or {}, "status": status}

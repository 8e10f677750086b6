"""What the API server tells of itself: groups, resources, version, and as much OpenAPI as kubectl wants to see."""

from __future__ import annotations

from rollout.sandbox.kube_objects import KINDS, Json, Kind

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_EXTRA_GROUPS = {"authorization.k8s.io": "v1"}
VERSION: Json = {
    "major": "1", "minor": "32", "gitVersion": "v1.32.0", "gitCommit": "0" * 40, "gitTreeState": "clean",
    "buildDate": "2024-12-11T00:00:00Z", "goVersion": "go1.23.3", "compiler": "gc", "platform": "linux/amd64",
}  # fmt: skip


def discovered(path: str) -> Json | None:
    """Answer a discovery path; None when it is none."""
    parts = path.strip("/").split("/")
    match parts:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis"]:
            groups = [_group(group, version) for group, version in _groups().items()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", group] if group in _groups():
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, _groups()[group])}
        case ["apis", group, version] if _groups().get(group) == version:
            return _resources(group, version)
        case ["openapi", "v2"]:
            info = {"title": "Kubernetes", "version": "v1.32.0"}
            return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
        case ["openapi", "v3", *rest]:
            return _openapi_v3("/".join(rest))
        case _:
            return None


def _groups() -> dict[str, str]:
    return {kind.group: kind.version for kind in KINDS if kind.group} | _EXTRA_GROUPS


def _group(group: str, version: str) -> Json:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _resources(group: str, version: str) -> Json:
    listed: list[Json] = []
    for kind in KINDS:
        if (kind.group, kind.version) == (group, version):
            listed.append(_resource(kind))
            listed += [_subresource(kind, name) for name in kind.subresources]
    if group == "authorization.k8s.io":
        kind_name = "SelfSubjectAccessReview"
        entry = {"name": "selfsubjectaccessreviews", "singularName": "", "namespaced": False, "kind": kind_name}
        listed.append(entry | {"verbs": ["create"]})
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}


def _resource(kind: Kind) -> Json:
    entry: Json = {"name": kind.plural, "singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
    entry |= {"verbs": VERBS}
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.plural in {"deployments", "pods", "services", "replicasets", "jobs"}:
        entry["categories"] = ["all"]
    return entry


def _subresource(kind: Kind, name: str) -> Json:
    entry: Json = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind}
    match name:
        case "scale":
            return entry | {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
        case "eviction":
            return entry | {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
        case "log":
            return entry | {"verbs": ["get"]}
        case _:
            return entry | {"verbs": ["get", "patch", "update"]}


def _openapi_v3(path: str) -> Json | None:
    """List the documents, or give one: paths with the parameter `fieldValidation`, by which kubectl decides who validates."""
    versions = {f"apis/{kind.api_version}" if kind.group else "api/v1": kind for kind in KINDS}
    if not path:
        return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=0"} for name in versions}}
    if path not in versions:
        return None
    paths: Json = {}
    for kind in KINDS:
        base = f"apis/{kind.api_version}" if kind.group else "api/v1"
        if base == path:
            where = "/namespaces/{namespace}" if kind.namespaced else ""
            gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
            parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
            operation = {"x-kubernetes-group-version-kind": gvk, "parameters": [parameter], "responses": {}}
            paths[f"/{base}{where}/{kind.plural}/{{name}}"] = {"patch": operation, "put": operation}
            paths[f"/{base}{where}/{kind.plural}"] = {"post": operation}
    info = {"title": "Kubernetes", "version": "v1.32.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}

"""The Kubernetes API over HTTP, on a pretend cluster: as much as kubectl, the Python client and the daemon need.

kubectl sends no credentials over plain HTTP (client-go merges them for TLS only), so a request without any is let in unless
`require_token`; a wrong token is 401 always.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from rollout.ports import Clock
from rollout.sandbox.http import Request, Response, json_response, text_response
from rollout.sandbox.kube_discovery import discovered
from rollout.sandbox.kube_objects import ApiError, Json, details_of, name_of, namespace_of, not_found, uid_of
from rollout.sandbox.kube_paths import Place, place
from rollout.sandbox.kube_rights import Rights
from rollout.sandbox.kube_selectors import Matches, selecting
from rollout.sandbox.kube_tables import table
from rollout.sandbox.kube_watch import DEFAULT_SECONDS, Watches, WatchQuery
from rollout.sandbox.live import LiveWorld
from rollout.sandbox.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from rollout.sandbox.pod_log import log_text
from rollout.sandbox.world import World

NAME = "kubernetes"
"""What Faults knows this backend by."""
_APPLY = "application/apply-patch+yaml"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_HEALTH = frozenset({"/readyz", "/livez", "/healthz"})


@dataclass(frozen=True, slots=True)
class _Call:
    request: Request
    place: Place
    manager: str
    dry_run: bool

    @property
    def namespace(self) -> str:
        return self.place.namespace or ""


class KubeApi:
    """Answers the API's requests. `rights.denials` takes permissions away."""

    def __init__(
        self, live: LiveWorld, clock: Clock, *, token: str = "", require_token: bool = False, bookmark_seconds: float = 5.0
    ) -> None:
        self.rights = Rights()
        self._live = live
        self._token = token
        self._require_token = require_token
        with live.using() as world:
            self._watches = Watches(live, clock, world.faults, NAME, bookmark_seconds)

    def respond(self, request: Request) -> Response:
        """Answer one request; every failure is a Status object."""
        try:
            self._admit(request)
            return self._route(request)
        except ApiError as error:
            return json_response(error.body(), error.code)
        except (ValueError, yaml.YAMLError):
            return json_response(ApiError(400, "BadRequest", "the object provided is unrecognized").body(), 400)

    def _admit(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if (given or self._require_token) and given != f"Bearer {self._token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if "protobuf" in request.headers.get("content-type", ""):
            raise ApiError(415, "UnsupportedMediaType", "the sandbox reads JSON only, not protobuf")

    def _route(self, request: Request) -> Response:
        if request.path in _HEALTH:
            return text_response("ok")
        if request.path.endswith("/selfsubjectaccessreviews"):
            return json_response(self.rights.review(request.json()), 201)
        found = discovered(request.path)
        if found is not None:
            return json_response(found)
        here = place(request.path)
        if here is None:
            return text_response("404 page not found\n", 404)
        manager = request.one("fieldManager") or request.headers.get("user-agent", "unknown").split("/", 1)[0]
        call = _Call(request, here, manager, request.one("dryRun") == "All")
        self.rights.require(_verb(call), here.kind.group, here.resource, here.namespace or "", here.name)
        return self._perform(call)

    def _perform(self, call: _Call) -> Response:
        request, here = call.request, call.place
        if here.subresource and request.method != "GET":
            return self._write_subresource(call)
        match request.method:
            case "GET" | "HEAD":
                return self._read(call)
            case "POST":
                with self._live.using() as world:
                    body = {"apiVersion": here.kind.api_version, "kind": here.kind.kind, **request.json()}
                    made = world.create(body, manager=call.manager, namespace=call.namespace, dry_run=call.dry_run)
                    return self._object(world, call, made, 201)
            case "PUT":
                with self._live.using() as world:
                    body = self._named(call)
                    put = world.replace(here.kind.plural, body, manager=call.manager, dry_run=call.dry_run)
                    return self._object(world, call, put)
            case "PATCH":
                with self._live.using() as world:
                    return self._object(world, call, self._patch(world, call))
            case _:
                return self._delete(call)

    def _read(self, call: _Call) -> Response:
        request, here = call.request, call.place
        if here.subresource == "log":
            with self._live.using() as world:
                return log_text(world, call.namespace, here.name, request)
        if not here.name:
            matches = selecting(request.one("labelSelector"), request.one("fieldSelector"))
            if request.one("watch") in {"true", "1"}:
                return self._watch(call, matches)
            with self._live.using() as world:
                return json_response(self._list(world, call, matches))
        with self._live.using() as world:
            if here.subresource == "scale":
                return json_response(world.scale_of(here.kind.plural, call.namespace, here.name))
            return self._object(world, call, world.get(here.kind.plural, call.namespace, here.name))

    def _list(self, world: World, call: _Call, matches: Matches) -> Json:
        request, kind = call.request, call.place.kind
        found = [obj for obj in world.objects(kind.plural, call.place.namespace) if matches(obj)]
        metadata: Json = {"resourceVersion": str(world.storage.version)}
        begin, limit = int(request.one("continue") or 0), int(request.one("limit") or 0)
        rest = found[begin:]
        if limit and len(rest) > limit:
            metadata |= {"continue": str(begin + limit), "remainingItemCount": len(rest) - limit}
            rest = rest[:limit]
        if _as_table(request):
            return table(kind.plural, rest, metadata, world.now)
        items = [{key: value for key, value in obj.items() if key not in {"apiVersion", "kind"}} for obj in rest]
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _watch(self, call: _Call, matches: Matches) -> Response:
        request, here = call.request, call.place
        if request.one("sendInitialEvents") == "true":
            words = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise ApiError(422, "Invalid", words)
        seconds = float(request.one("timeoutSeconds") or DEFAULT_SECONDS)
        query = WatchQuery(
            here.kind,
            here.namespace,
            matches,
            request.one("resourceVersion"),
            request.one("allowWatchBookmarks") == "true",
            seconds,
            request.path,
            self._shown(call),
        )
        return Response(stream=self._watches.stream(query))

    def _shown(self, call: _Call) -> Callable[[Json], Json]:
        if not _as_table(call.request):
            return lambda obj: obj
        plural, now = call.place.kind.plural, self._live.now
        return lambda obj: table(plural, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}, now())

    def _object(self, world: World, call: _Call, obj: Json, status: int = 200) -> Response:
        if _as_table(call.request):
            return json_response(table(call.place.kind.plural, [obj], {}, world.now), status)
        return json_response(obj, status)

    def _named(self, call: _Call) -> Json:
        body = call.request.json()
        if not isinstance(body, dict):
            raise ApiError(400, "BadRequest", "the body of the request is not an object")
        metadata = {**(body.get("metadata") or {}), "name": call.place.name}
        return {**body, "metadata": metadata | ({"namespace": call.namespace} if call.namespace else {})}

    def _patch(self, world: World, call: _Call) -> Json:
        here = call.place
        language, body = _patch_body(call.request)
        operation, custom = "Update", here.kind.kind == "ApisixRoute"
        if language == _APPLY:
            language, operation = MERGE_PATCH if custom else STRATEGIC_PATCH, "Apply"
            if world.find(here.kind.plural, call.namespace, here.name) is None:
                made = {"apiVersion": here.kind.api_version, "kind": here.kind.kind, **body}
                return world.create(made, manager=call.manager, namespace=call.namespace, dry_run=call.dry_run)
        if language == STRATEGIC_PATCH and custom:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {language}")
        return world.patch(
            here.kind.plural, call.namespace, here.name, body,
            content_type=language, manager=call.manager, subresource=here.subresource, operation=operation, dry_run=call.dry_run,
        )  # fmt: skip

    def _write_subresource(self, call: _Call) -> Response:
        request, here = call.request, call.place
        with self._live.using() as world:
            match here.subresource, request.method:
                case "scale", "PUT":
                    return json_response(world.write_scale(here.kind.plural, self._named(call), manager=call.manager))
                case "scale", "PATCH":
                    return json_response(self._patch_scale(world, call))
                case "eviction", "POST":
                    world.evict(call.namespace, here.name, call.manager)
                    return json_response(_success(), 201)
                case "status", "PATCH":
                    return json_response(self._patch(world, call))
                case "status", "PUT":
                    put = world.replace(here.kind.plural, self._named(call), manager=call.manager, subresource="status")
                    return json_response(put)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _patch_scale(self, world: World, call: _Call) -> Json:
        here = call.place
        language, body = _patch_body(call.request)
        present = world.scale_of(here.kind.plural, call.namespace, here.name)
        patched = world.patched(present, body, MERGE_PATCH if language == STRATEGIC_PATCH else language)
        return world.write_scale(here.kind.plural, patched, manager=call.manager)

    def _delete(self, call: _Call) -> Response:
        request, here = call.request, call.place
        options = request.json() or {}
        if not isinstance(options, dict):
            raise ApiError(400, "BadRequest", "the body of the request is not a DeleteOptions object")
        grace = options.get("gracePeriodSeconds", request.one("gracePeriodSeconds") or None)
        seconds = None if grace is None else float(grace)
        orphan = (options.get("propagationPolicy") or request.one("propagationPolicy")) == "Orphan"
        with self._live.using() as world:
            if here.name:
                present = world.find(here.kind.plural, call.namespace, here.name)
                if present is None:
                    raise not_found(here.kind.plural, here.name)
                _check_preconditions(present, options)
                doomed = [present]
            else:
                matches = selecting(request.one("labelSelector"), request.one("fieldSelector"))
                doomed = [obj for obj in world.objects(here.kind.plural, here.namespace) if matches(obj)]
            for obj in doomed if not call.dry_run else ():
                world.delete(
                    here.kind.plural, namespace_of(obj), name_of(obj), manager=call.manager, grace_seconds=seconds, orphan=orphan
                )
            pod = world.find("pods", call.namespace, here.name) if here.kind.plural == "pods" and here.name else None
        if pod is not None:
            return json_response(pod)
        details = details_of(here.kind.plural, here.name) | ({"uid": uid_of(doomed[0])} if here.name else {})
        return json_response(_success() | {"details": details})


def _verb(call: _Call) -> str:
    method, named = call.request.method, bool(call.place.name)
    if method in {"GET", "HEAD"}:
        if call.request.one("watch") in {"true", "1"}:
            return "watch"
        return "get" if named else "list"
    if method == "DELETE":
        return "delete" if named else "deletecollection"
    return _VERBS.get(method, method.lower())


def _as_table(request: Request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def _patch_body(request: Request) -> tuple[str, Any]:
    language = request.headers.get("content-type", "").split(";", 1)[0].strip()
    if language == _APPLY:
        return language, yaml.safe_load(request.body)
    if language not in {JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH}:
        raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {language}")
    return language, json.loads(request.body)


def _check_preconditions(obj: Json, options: Json) -> None:
    for key, wanted in (options.get("preconditions") or {}).items():
        if wanted and obj["metadata"].get(key) != wanted:
            words = f"Precondition failed: {key} in precondition: {wanted}, in object meta: {obj['metadata'].get(key)}"
            raise ApiError(409, "Conflict", words)


def _success() -> Json:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

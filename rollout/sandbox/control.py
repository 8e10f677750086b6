"""Where faults are injected into a running sandbox: a small HTTP endpoint for curl.

GET / shows the time, the backends, their faults and how versions behave. POST /faults and POST /behaviours take JSON or a form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from datetime import timedelta
from typing import Any

from rollout.core.quantities import as_text, parse_duration
from rollout.sandbox.behaviour import HEALTHY, Behaviour
from rollout.sandbox.faults import Failing, Fault
from rollout.sandbox.http import Request, Response, json_response
from rollout.sandbox.live import LiveWorld

NAME = "control"

KINDS: Mapping[str, Behaviour] = {
    "healthy": HEALTHY,
    "errs": Behaviour(error_rate=0.2, log_error_rate=0.05),
    "crashes": Behaviour(crash_after=timedelta(seconds=5)),
    "runs-out-of-memory": Behaviour(oom_after=timedelta(seconds=5)),
    "cannot-be-pulled": Behaviour(pull_error="manifest unknown: manifest tagged by this version is not found"),
    "cannot-be-configured": Behaviour(config_error='secret "nginx" not found'),
    "starts-slowly": Behaviour(ready_after=timedelta(minutes=5)),
    "never-ready": Behaviour(ready_after=None),
    "is-slow": Behaviour(slow_rate=0.5, latency_ms=400.0),
}
"""What a version can be said to be: POST /behaviours with `image` and `is`; single fields can be given beside it."""

FAILINGS = {re.sub(r"[^a-z0-9]+", "-", failing.value): failing for failing in Failing}
"""`hang`, `http-500`, `http-503`, `html` (nonsense), `cut`, `slow`, `http-401`, `http-429`."""

EVERY_IMAGE = "*"


class Wrong(Exception):  # noqa: N818 - a word of this module: what was asked is wrong
    """The request cannot be followed; the text says why and what can be asked."""


class Control:
    """Answers the control endpoint of one sandbox. `backends` are the names that faults are known by."""

    def __init__(self, live: LiveWorld, urls: Callable[[], Mapping[str, str]]) -> None:
        self._live = live
        self._urls = urls
        self._spoken: dict[str, Behaviour] = {}

    def respond(self, request: Request) -> Response:
        """Answer one request: 200 with what holds then, 400 in words for what makes no sense, 404."""
        try:
            match request.method, request.path:
                case "GET", "/":
                    pass
                case "POST", "/faults":
                    self._set_fault(asked(request))
                case "POST", "/behaviours":
                    self._set_behaviour(asked(request))
                case _:
                    return json_response({"error": "GET /, POST /faults or POST /behaviours"}, 404)
        except Wrong as error:
            return json_response({"error": str(error)}, 400)
        return Response(body=json.dumps(self._shown(), indent=2).encode() + b"\n")

    def _shown(self) -> dict[str, Any]:
        with self._live.using() as world:
            return {
                "time": world.now.isoformat().replace("+00:00", "Z"),
                "backends": dict(self._urls()),
                "faults": {name: _worded(fault) for name, fault in world.faults},
                "behaviours": {image: _changed(behaviour) for image, behaviour in self._spoken.items()},
                "canFail": sorted(FAILINGS),
                "canBe": sorted(KINDS),
            }

    def _set_fault(self, wish: dict[str, Any]) -> None:
        backends = [name for name in self._urls() if name != NAME]
        backend, failing = str(wish.pop("backend", "")), str(wish.pop("failing", ""))
        if backend not in backends:
            raise Wrong(f"backend {backend!r}: one of {', '.join(backends)} is expected")
        if failing != "none" and failing not in FAILINGS:
            raise Wrong(f"failing {failing!r}: none, or one of {', '.join(sorted(FAILINGS))} is expected")
        path, method = str(wish.pop("path", "")), str(wish.pop("method", "")).upper()
        delay = _duration("delay", wish.pop("delay", "2s"))
        _nothing_left(wish, ("backend", "failing", "path", "method", "delay"))
        with self._live.using() as world:
            if failing == "none":
                world.faults.clear(backend)
            else:
                world.faults.set(backend, Fault(FAILINGS[failing], path, method, delay))

    def _set_behaviour(self, wish: dict[str, Any]) -> None:
        image, kind = str(wish.pop("image", "")), str(wish.pop("is", "healthy"))
        if not image:
            raise Wrong("image is missing: the image that a Deployment names, or * for every one not spoken of")
        if kind not in KINDS:
            raise Wrong(f"is {kind!r}: one of {', '.join(sorted(KINDS))} is expected")
        behaviour = replace(KINDS[kind], **_fields_of(wish))
        with self._live.using() as world:
            self._spoken[image] = behaviour
            if image == EVERY_IMAGE:
                world.behaviours.default = behaviour
            else:
                world.behaviours[image] = behaviour


def asked(request: Request) -> dict[str, Any]:
    """Read a JSON object or a form. Raises Wrong."""
    if not request.body.lstrip().startswith(b"{"):
        return {key: values[-1] for key, values in request.form().items()}
    try:
        document = request.json()
    except ValueError as error:
        raise Wrong(f"the body is no JSON: {error}") from None
    return dict(document)


def _fields_of(wish: dict[str, Any]) -> dict[str, Any]:
    known = {_camel(field.name): field for field in fields(Behaviour)}
    _nothing_left({key: value for key, value in wish.items() if key not in known}, ("image", "is", *known))
    return {known[key].name: _value(key, str(known[key].type), value) for key, value in wish.items()}


def _value(key: str, kind: str, value: Any) -> Any:  # noqa: ANN401 - JSON in, a field's value out
    if "None" in kind and value in {None, "", "never"}:
        return None
    if "timedelta" in kind:
        return _duration(key, value)
    if "tuple" in kind:
        return tuple(str(line) for line in (value if isinstance(value, list) else [value]))
    try:
        return float(value) if "float" in kind else int(value) if "int" in kind else str(value)
    except (TypeError, ValueError):
        raise Wrong(f"{key} {value!r}: a number is expected") from None


def _duration(key: str, value: Any) -> timedelta:  # noqa: ANN401 - JSON
    if value in {"0", "0s", 0}:
        return timedelta()
    try:
        return parse_duration(as_text(value))
    except ValueError:
        raise Wrong(f"{key} {value!r}: a duration is expected, for example 5s or 2m") from None


def _nothing_left(wish: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if wish:
        raise Wrong(f"{', '.join(wish)}: not known; there are {', '.join(known)}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _worded(fault: Fault) -> dict[str, str]:
    words = {"failing": fault.failing.value, "path": fault.path, "method": fault.method}
    return {key: value for key, value in words.items() if value}


def _changed(behaviour: Behaviour) -> dict[str, Any]:
    """Name the fields in which it is not a healthy version's."""
    return {
        _camel(field.name): str(value) if isinstance(value, timedelta) else value
        for field in fields(Behaviour)
        if field.default is not MISSING and (value := getattr(behaviour, field.name)) != field.default
    }

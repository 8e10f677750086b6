"""How APISIX servers differ by version, in what a client can see. Each figure was seen on that very server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavour:
    """One version's ways.

    `v3`: answers are `{key, value}` and `{total, list}` instead of `{action, node}`. `fills_defaults`: stored values show
    defaults that nobody sent. `patch_created`: a PATCH answers 201. `forbids_stamps`: a PUT with create_time is declined.
    `explains_401`: the body has a `description`. `empty_replaces`: `{}` in a merge PATCH replaces instead of merging nothing.
    `guards_services`: a used service cannot be deleted. `honours_response_code`: of ip-restriction. `encrypts`: secrets of
    plugins are stored encrypted, and `patch_damages_secrets`: encrypted once more by every PATCH of the object.
    """

    version: str
    v3: bool = True
    fills_defaults: bool = False
    patch_created: bool = False
    forbids_stamps: bool = True
    explains_401: bool = True
    empty_replaces: bool = True
    guards_services: bool = True
    honours_response_code: bool = True
    encrypts: bool = True
    patch_damages_secrets: bool = True
    one_global_rule: bool = False
    """A second global rule with the same plugin is declined."""


FLAVOURS = {
    "2.15": Flavour(
        "2.15.3", v3=False, fills_defaults=True, patch_created=True, forbids_stamps=False, explains_401=False,
        empty_replaces=False, guards_services=False, honours_response_code=False, encrypts=False, patch_damages_secrets=False,
    ),
    "3.2": Flavour(
        "3.2.2", fills_defaults=True, forbids_stamps=False, explains_401=False, empty_replaces=False,
        honours_response_code=False, encrypts=False,
    ),
    "3.9": Flavour(
        "3.9.1", fills_defaults=True, explains_401=False, empty_replaces=False, honours_response_code=False, encrypts=False,
    ),
    "3.13": Flavour("3.13.0", fills_defaults=True, empty_replaces=False),
    "3.18": Flavour("3.18.0", patch_damages_secrets=False, one_global_rule=True),
}  # fmt: skip

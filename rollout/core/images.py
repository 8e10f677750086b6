"""Image references by the full grammar of OCI registries, and the refusal of those that cannot be stepped back from.

`name[:tag][@digest]`; grammar: github.com/distribution/reference, regexp.go. A reference without a tag, or with `:latest`, is
refused: setting the same string again rolls nothing, and restoring it restores nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from rollout.core.quantities import as_text, seen, wrong

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
_DOMAIN = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_NAME_LENGTH = 255
_LONGEST = 1_000
_SHA256_LENGTH = len("sha256:") + 64
_EXAMPLE = "for example registry.example.com/shop/nginx:1.27.4, or nginx@sha256:<64 hex digits>"
DEFAULT_DOMAIN = "docker.io"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The parts of a reference; `domain` is empty where none was written, `tag` and `digest` where there is none."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The full name without tag and digest, as registries know it: `nginx` is `docker.io/library/nginx`."""
        path = self.path if self.domain or "/" in self.path else f"library/{self.path}"
        return f"{self.domain or DEFAULT_DOMAIN}/{path}"

    @property
    def written_name(self) -> str:
        """The name as it was written, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    def __str__(self) -> str:
        return self.written_name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return (first, rest) if slash and is_domain else ("", name)


def parse_image(text: str) -> ImageReference:
    """Read a reference. Raises the worded error of `quantities.wrong` that names the part that is not right."""
    if len(text) > _LONGEST:
        raise wrong(f"{seen(text)} is too long", f"at most {_NAME_LENGTH} characters before the tag")
    if "://" in text:
        raise wrong(f"{seen(text)} is a URL, not an image", _EXAMPLE)
    rest, at, digest = text.partition("@")
    if at and not (_DIGEST.fullmatch(digest) and (not digest.startswith("sha256:") or len(digest) == _SHA256_LENGTH)):
        raise wrong(f"{seen(text)}: the digest {seen(digest)} is not valid", "sha256: and 64 hex digits")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    if colon and not _TAG.fullmatch(tag):
        raise wrong(f"{seen(text)}: the tag {seen(tag)} is not valid", "letters, digits, '_', '.' and '-', at most 128")
    domain, path = _split_domain(name)
    if domain and not _DOMAIN.fullmatch(domain):
        raise wrong(f"{seen(text)}: the registry {seen(domain)} is not a host", _EXAMPLE)
    if len(name) > _NAME_LENGTH:
        raise wrong(f"{seen(text)} is too long", f"at most {_NAME_LENGTH} characters before the tag")
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            hint = "lower-case letters only" if component != component.lower() else _EXAMPLE
            raise wrong(f"{seen(text)}: {seen(component)} is not valid in the name of an image", hint)
    return ImageReference(domain, path, tag, digest)


def check_image(value: object) -> object:
    """Accept a reference that a step back can rely on: with a digest, or with a tag other than `latest`."""
    text = as_text(value)
    if not isinstance(text, str):
        return text
    image = parse_image(text)
    if image.digest:
        return text
    if not image.tag:
        raise wrong(f"{seen(text)} has no tag, which means :latest", "name the version: a tag that is never moved, or a digest")
    if image.tag == "latest":
        raise wrong(
            f"{seen(text)}: setting the same mutable tag again rolls nothing, and restoring it restores nothing",
            "name the version: a tag that is never moved, or a digest",
        )
    return text


Image = Annotated[str, BeforeValidator(check_image), WithJsonSchema({"type": "string", "examples": ["nginx:1.27.4"]})]
"""An image by tag (not `latest`) or digest."""

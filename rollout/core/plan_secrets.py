"""Secrets that were written into a plan: recognised by their names, so that they are refused before anything is stored or shown.

A plan is a row, lies in backups and is shown; what opens doors is named in it and stands elsewhere: in the daemon's `credentials`,
in a Kubernetes Secret, in a file that a script reads. Nothing here repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

VARIABLE = re.compile(r"(PASSWORD|PASSWD|_PWD|(^|_)TOKEN|API_?KEY)$", re.IGNORECASE)
"""Names of variables whose value nobody may read; `SECRET` names a Secret, and `..._FILE` a file."""
_HEADER = re.compile(r"(authorization|cookie|token|secret|password|credentials?|api[-_]?key|access[-_]?key)$", re.IGNORECASE)
_KEY = r"[\w.-]*(?:password|passwd|passphrase|token|secret|api[-_]?key|access[-_]?key|credentials?)"
_PARAMETER = re.compile(_KEY, re.IGNORECASE)
_IN_JSON = re.compile(rf'"({_KEY})"\s*:\s*"[^"]', re.IGNORECASE)
_IN_FORM = re.compile(rf"(?:^|&)({_KEY})=[^&\s]", re.IGNORECASE)
_LINE = re.compile(r"([A-Za-z0-9-]+):\s*(?!(?:[\w.-]+[\s=]+)?\$)\S.*", re.DOTALL)
"""A header with its value; `Authorization: Bearer $(TOKEN)` and `Cookie: session=$(SESSION)` name where it is found."""
_OPTION = re.compile(rf"--?({_KEY})=[^$].*", re.IGNORECASE | re.DOTALL)
_VALUE = re.compile(r"(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SCHEME = re.compile(r"authorization:\s*(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
"""A token behind its scheme; `Bearer $TOKEN` and `Bearer $(cat /run/secrets/token)` name where it is found."""


def secret_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Name the headers that carry a credential."""
    yield from (name for name, value in headers.items() if value and (_HEADER.search(name) or _VALUE.fullmatch(value)))


def secret_parameters(url: str) -> Iterator[str]:
    """Name the parameters of a URL's query that carry one."""
    query = parse_qsl(urlsplit(url).query)
    yield from (name for name, value in query if value and _PARAMETER.fullmatch(name))


def secret_fields(body: str) -> Iterator[str]:
    """Name the fields of a body, JSON or a form, that carry one."""
    yield from (found[1] for pattern in (_IN_JSON, _IN_FORM) for found in pattern.finditer(body))


def secret_words(words: Iterable[str]) -> Iterator[str]:
    """Say what in a program's arguments is one: a header, an option with its value, a token behind its scheme."""
    for word in words:
        header, option, scheme = _LINE.fullmatch(word), _OPTION.fullmatch(word), _SCHEME.search(word)
        if header is not None and _HEADER.search(header[1]):
            yield header[1]
        elif option is not None:
            yield f"--{option[1]}"
        elif scheme is not None:
            yield f"what follows {scheme[1]}"

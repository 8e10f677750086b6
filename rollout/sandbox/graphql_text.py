"""As much of GraphQL as clients of SkyWalking use: one operation, variables, aliases, arguments, nested selections.

Fragments, directives and mutations are refused. Values of variables are put in place, so that a resolver sees plain JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""[\s,\ufeff]+ | \#[^\n]* | (?P<word>[_A-Za-z]\w*) | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<text>"(?:[^"\\\n]|\\.)*") | (?P<mark>\.\.\.|[!$():=@\[\]{}|])""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None}
_DEEPEST = 50


class GraphqlError(Exception):
    """A document that cannot be read, or is not valid; the text is the error's message."""


@dataclass(slots=True)
class Field:
    """One selected field. `types` holds the declared type of each argument that is a variable."""

    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    selection: list[Field] = field(default_factory=list)

    def size(self) -> int:
        """How many fields are selected, this one included: the complexity that a server limits."""
        return 1 + sum(child.size() for child in self.selection)


def parse(text: str, variables: Mapping[str, Any]) -> list[Field]:
    """Read a document; give the fields of its one operation. Raises GraphqlError."""
    return _Parser(text, variables).document()


class _Parser:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._values = variables
        self._types: dict[str, str] = {}

    def document(self) -> list[Field]:
        if self._look() != "{":
            if (kind := self._take()) != "query":
                raise GraphqlError(f"Invalid syntax: a query is expected, {kind!r} was seen")
            if self._look() not in {"(", "{"}:
                self._take()
            if self._look() == "(":
                self._declarations()
        fields = self._selection(0)
        if self._look():
            raise GraphqlError(f"Invalid syntax: {self._look()!r} after the operation")
        return fields

    def _declarations(self) -> None:
        self._expect("(")
        while self._look() != ")":
            self._expect("$")
            name = self._take()
            self._expect(":")
            kind = self._type()
            if self._look() == "=":
                self._take()
                self._value()
            if kind.endswith("!") and self._values.get(name) is None:
                raise GraphqlError(
                    f"Variable '{name}' has an invalid value: Variable '{name}' has coerced Null value for NonNull type '{kind}'"
                )
            self._types[name] = kind
        self._expect(")")

    def _type(self) -> str:
        if self._look() == "[":
            self._take()
            kind = f"[{self._type()}]"
            self._expect("]")
        else:
            kind = self._take()
        if self._look() == "!":
            kind += self._take()
        return kind

    def _selection(self, depth: int) -> list[Field]:
        if depth > _DEEPEST:
            raise GraphqlError("maximum query depth exceeded")
        self._expect("{")
        found: list[Field] = []
        while self._look() != "}":
            if self._look() in {"...", "@"}:
                raise GraphqlError("Invalid syntax: fragments and directives are not served here")
            name = alias = self._take()
            if self._look() == ":":
                self._take()
                name = self._take()
            made = Field(name, alias)
            if self._look() == "(":
                self._arguments(made)
            if self._look() == "{":
                made.selection = self._selection(depth + 1)
            found.append(made)
        self._expect("}")
        return found

    def _arguments(self, made: Field) -> None:
        self._expect("(")
        while self._look() != ")":
            name = self._take()
            self._expect(":")
            if self._look() == "$":
                self._take()
                variable = self._take()
                if variable not in self._types:
                    raise GraphqlError(f"Validation error (UndefinedVariable) : Undefined variable '{variable}'")
                made.types[name] = self._types[variable]
                made.arguments[name] = self._values.get(variable)
            else:
                made.arguments[name] = self._value()
        self._expect(")")

    def _value(self) -> Any:  # noqa: ANN401 - JSON
        token = self._take()
        match token:
            case "[":
                items = []
                while self._look() != "]":
                    items.append(self._value())
                self._take()
                return items
            case "{":
                made = {}
                while self._look() != "}":
                    key = self._take()
                    self._expect(":")
                    made[key] = self._value()
                self._take()
                return made
            case "$":
                return self._values.get(self._take())
            case _ if token in _CONSTANTS:
                return _CONSTANTS[token]
            case _ if token[0] in '"-0123456789':
                return json.loads(token)
            case _:
                return token  # an enum's value

    def _look(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._look()
        if not token:
            raise GraphqlError("Invalid syntax: the document ends too early")
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if (seen := self._take()) != token:
            raise GraphqlError(f"Invalid syntax: {token!r} is expected, {seen!r} was seen")


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise GraphqlError(f"Invalid syntax: offending token {text[at]!r} at {at}")
        if match.lastgroup:
            found.append(match[0])
        at = match.end()
    return found

"""The coders behind codec.py, one per shape of type, compiled from type hints. Ask `coder_of` for the coder of a type."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, Literal, NamedTuple, NewType, Union, get_args, get_origin, get_type_hints

from rollout.store.coders_plain import Coder, ShapeError, as_it_is, plain_coder, shape_of

__all__ = ["Coder", "ShapeError", "coder_of", "has_own_kind", "object_coder"]

TAG = "kind"
OWN_TAG = "kind_"


@cache
def coder_of(hint: Any) -> Coder:  # noqa: ANN401 - any type hint
    """Compile the coder of a type hint. Raises TypeError for what a stored value may not hold."""
    origin = get_origin(hint)
    coder = coder_of(hint.__supertype__) if isinstance(hint, NewType) else plain_coder(hint)
    if coder is None and isinstance(hint, type) and is_dataclass(hint):
        coder = _later(partial(object_coder, hint, tagged=False))
    if coder is None and origin is not None:
        coder = _generic_coder(origin, get_args(hint))
    if coder is None:
        raise TypeError(f"{hint!r} has no coder: states are made of frozen dataclasses, enums, times and plain values")
    return coder


def _generic_coder(origin: Any, arguments: tuple[Any, ...]) -> Coder | None:  # noqa: ANN401 - a type's origin
    if origin in {Union, types.UnionType}:
        return _union_coder(arguments)
    if origin is Literal:
        return _literal_coder(arguments)
    if origin in {tuple, frozenset, list}:
        return _sequence_coder(origin, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_coder(*arguments)
    return None


def _later(build: Callable[[], Coder]) -> Coder:
    """Build at first use, so that a class may hold itself."""
    built: list[Coder] = []

    def coder() -> Coder:
        if not built:
            built.append(build())
        return built[0]

    return Coder(lambda value: coder().encode(value), lambda tree, path: coder().decode(tree, path))


class _Part(NamedTuple):
    name: str
    coder: Coder
    default: Callable[[], Any] | None


def _default(field: Field[Any]) -> Callable[[], Any] | None:
    if field.default is not MISSING:
        return lambda: field.default
    return None if field.default_factory is MISSING else field.default_factory


@cache
def _parts(cls: type) -> tuple[_Part, ...]:
    hints = get_type_hints(cls)
    return tuple(_Part(f.name, coder_of(hints[f.name]), _default(f)) for f in fields(cls) if f.init)


@cache
def object_coder(cls: type, *, tagged: bool) -> Coder:
    """Code a dataclass as an object, `tagged` with its class name. A tagged class's own field `kind` is written as `kind_`."""
    if not is_dataclass(cls):
        raise TypeError(f"{cls!r} is no dataclass")
    by_key = {OWN_TAG if tagged and part.name == TAG else part.name: part for part in _parts(cls)}
    encoders = tuple((key, part.name, None if part.coder.encode is as_it_is else part.coder.encode)
                     for key, part in by_key.items())  # fmt: skip

    def encode(value: Any) -> dict[str, Any]:  # noqa: ANN401 - an instance of cls
        tree: dict[str, Any] = {TAG: cls.__name__} if tagged else {}
        for key, name, encode_part in encoders:
            part = getattr(value, name)
            tree[key] = part if encode_part is None else encode_part(part)
        return tree

    return Coder(encode, _ObjectReader(cls, by_key).decode)


def has_own_kind(cls: type) -> bool:
    """Say whether a class has a field that bears the name of the tag."""
    return any(part.name == TAG for part in fields(cls))


@dataclass(frozen=True, slots=True)
class _ObjectReader:
    cls: type
    parts: Mapping[str, _Part]
    """By the key under which each stands in JSON."""

    def decode(self, tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON in, an instance of cls out
        if not isinstance(tree, dict):
            raise ShapeError(path, f"{shape_of(tree)} where {self.cls.__name__} belongs")
        given = {part.name: part.coder.decode(item, _within(path, key)) for key, part, item in self._known(tree, path)}
        for key, part in self.parts.items():
            if part.name not in given:
                if part.default is None:
                    raise ShapeError(_within(path, key), "the field is missing and has no default")
                given[part.name] = part.default()
        try:
            return self.cls(**given)
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise ShapeError(path, f"{self.cls.__name__} does not accept it: {error}") from None

    def _known(self, tree: dict[str, Any], path: str) -> Iterator[tuple[str, _Part, Any]]:
        for key, item in tree.items():
            part = self.parts.get(key)
            if part is not None:
                yield key, part, item
            elif not (key == TAG and item == self.cls.__name__):
                raise ShapeError(_within(path, key), f"{self.cls.__name__} has no such field with such a value")


def _within(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _union_coder(members: tuple[Any, ...]) -> Coder:
    """Code one of several: dataclasses by their tag, everything else by the shape that its JSON has."""
    classes = {m.__name__: m for m in members if isinstance(m, type) and is_dataclass(m)}
    others = [m for m in members if not (isinstance(m, type) and is_dataclass(m))]
    by_shape: dict[type, Coder] = {}
    if len(classes) == 1 and others == [types.NoneType]:
        (cls,) = classes.values()
        objects = {}
        by_shape[dict] = coder_of(cls)
        by_type: dict[type, Callable[[Any], Any]] = {cls: by_shape[dict].encode}
    else:
        objects = {name: _later(partial(object_coder, cls, tagged=True)) for name, cls in classes.items()}
        by_type = {cls: objects[name].encode for name, cls in classes.items()}
    for other in others:
        _add_member(other, by_type, by_shape)
    if objects and dict in by_shape:
        raise TypeError(f"{members!r}: a mapping beside dataclasses cannot be told apart")
    return Coder(_union_encoder(members, by_type), _union_decoder(objects, by_shape))


def _add_member(member: Any, by_type: dict[type, Callable[[Any], Any]], by_shape: dict[type, Coder]) -> None:  # noqa: ANN401 - a hint
    coder = coder_of(member)
    origin = get_origin(member) or member
    for one in {type(value) for value in get_args(member)} if origin is Literal else {origin}:
        by_type[one] = coder.encode
    for shape in _shapes(member):
        if shape in by_shape:
            raise TypeError(f"{member!r} cannot be told apart from another member of its union: both are {shape.__name__}")
        by_shape[shape] = coder


def _shapes(member: Any) -> set[type]:  # noqa: ANN401 - a hint
    origin = get_origin(member) or member
    if origin is Literal:
        return {type(value) for value in get_args(member)}
    if isinstance(origin, type) and issubclass(origin, Enum):
        return {type(item.value) for item in origin}
    if origin in {str, int, float, bool, types.NoneType}:
        return {origin}
    if origin in {tuple, frozenset, list}:
        return {list}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {dict}
    return {float, int} if getattr(origin, "__name__", "") == "timedelta" else {str}


def _union_encoder(members: tuple[Any, ...], by_type: dict[type, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def encode(value: Any) -> Any:  # noqa: ANN401 - one of the members
        encode_one = by_type.get(type(value))
        if encode_one is None:
            encode_one = next((found for cls, found in by_type.items() if isinstance(value, cls)), None)
        if encode_one is None:
            raise TypeError(f"{type(value).__name__} is none of {members!r}")
        return encode_one(value)

    return encode


def _union_decoder(objects: dict[str, Coder], by_shape: dict[type, Coder]) -> Callable[[Any, str], Any]:
    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON in, one of the members out
        if isinstance(tree, dict) and objects:
            name = tree.get(TAG)
            coder = objects.get(name) if isinstance(name, str) else None
            if coder is None:
                raise ShapeError(_within(path, TAG), f"the kind {name!r} is none of {', '.join(objects)}")
            return coder.decode(tree, path)
        coder = by_shape.get(type(tree))
        if coder is None and type(tree) is int:
            coder = by_shape.get(float)
        if coder is None:
            expected = ", ".join([*objects, *(shape.__name__ for shape in by_shape)])
            raise ShapeError(path, f"{shape_of(tree)} where one of {expected} belongs")
        return coder.decode(tree, path)

    return decode


def _literal_coder(values: tuple[Any, ...]) -> Coder:
    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
        for value in values:
            if value == tree and type(value) is type(tree):
                return value
        raise ShapeError(path, f"{tree!r} is none of {values!r}"[:200])

    return Coder(as_it_is, decode)


def _sequence_coder(kind: type, arguments: tuple[Any, ...]) -> Coder:
    if kind is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):  # noqa: PLR2004 - tuple[X, ...]
        return _fixed_tuple_coder(arguments)
    item = coder_of(arguments[0])
    ordered = kind is not frozenset

    def encode(value: Any) -> list[Any]:  # noqa: ANN401 - a tuple, list or frozenset
        items = [item.encode(one) for one in value]
        return items if ordered else sorted(items, key=repr)

    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(tree, list):
            raise ShapeError(path, f"{shape_of(tree)} where a list belongs")
        try:
            return kind(item.decode(one, f"{path}[{index}]") for index, one in enumerate(tree))
        except TypeError:
            raise ShapeError(path, "an item that cannot be in a set") from None

    return Coder(encode, decode)


def _fixed_tuple_coder(arguments: tuple[Any, ...]) -> Coder:
    coders = tuple(coder_of(argument) for argument in arguments)

    def encode(value: Any) -> list[Any]:  # noqa: ANN401 - a tuple
        return [coder.encode(one) for coder, one in zip(coders, value, strict=True)]

    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(tree, list) or len(tree) != len(coders):
            raise ShapeError(path, f"{shape_of(tree)} where a list of {len(coders)} belongs")
        return tuple(coder.decode(one, f"{path}[{index}]") for index, (coder, one) in enumerate(zip(coders, tree, strict=True)))

    return Coder(encode, decode)


def _mapping_coder(key_hint: Any, value_hint: Any) -> Coder:  # noqa: ANN401 - hints
    key, item = coder_of(key_hint), coder_of(value_hint)
    number = key_hint is int

    def encode(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping
        pairs = [(str(key.encode(name)), item.encode(one)) for name, one in value.items()]
        return dict(sorted(pairs, key=lambda pair: pair[0]))

    def decode(tree: Any, path: str) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(tree, dict):
            raise ShapeError(path, f"{shape_of(tree)} where a mapping belongs")
        return {key.decode(_number(name, path) if number else name, path): item.decode(one, f"{path}[{name}]")
                for name, one in tree.items()}  # fmt: skip

    return Coder(encode, decode)


def _number(text: str, path: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ShapeError(path, f"the key {text[:40]!r} is no whole number") from None

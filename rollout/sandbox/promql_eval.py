"""PromQL evaluated on series that are computed on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rollout.sandbox import promql_functions as functions
from rollout.sandbox.promql_functions import Vector
from rollout.sandbox.promql_series import Family, Labels, Sampled, Scrapes, newest, regexes, sampled
from rollout.sandbox.promql_syntax import (
    COMPARISONS,
    SETS,
    Aggregation,
    Binary,
    Call,
    Expression,
    Matcher,
    Number,
    QueryError,
    Selector,
    Subquery,
    Text,
)

Key = tuple[tuple[str, str], ...]


class ExecutionError(Exception):
    """The query is well-formed, but cannot be evaluated on what there is (many-to-many)."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates at instants. `families` maps metric names to their series; `scrapes` says when these were sampled."""

    families: Mapping[str, Family]
    scrapes: Scrapes

    def evaluate(self, expression: Expression, at: float) -> Vector | float | str:
        """Evaluate to a vector, a scalar or a string. Raises QueryError, ExecutionError."""
        match expression:
            case Number(value):
                return value
            case Text(text):
                return text
            case Selector(window=None):
                return self._instant(expression, at)
            case Selector() | Subquery():
                raise QueryError("a range vector is not a result of an instant query here; wrap it in a function")
            case Call():
                return self._call(expression, at)
            case Aggregation():
                return self._aggregate(expression, at)
            case Binary():
                return self._binary(expression, at)

    def vector(self, expression: Expression, at: float) -> Vector:
        """Evaluate to a vector. Raises QueryError when it is something else."""
        found = self.evaluate(expression, at)
        if not isinstance(found, list):
            kind = "scalar" if isinstance(found, float) else "string"
            raise QueryError(f"1:1: parse error: expected type instant vector, got {kind}")
        return found

    def _matching(self, selector: Selector) -> tuple[list[Family], Callable[[Labels], bool]]:
        names = [m for m in selector.matchers if m.label == "__name__"]
        if selector.name:
            names.append(Matcher("__name__", "=", selector.name))
        if not any(not regexes([m])({}) for m in (*selector.matchers, *names)):
            raise QueryError("1:1: parse error: vector selector must contain at least one non-empty matcher")
        right_name = regexes(names)
        chosen = [family for name, family in self.families.items() if right_name({"__name__": name})]
        return chosen, regexes(m for m in selector.matchers if m.label != "__name__")

    def _instant(self, selector: Selector, at: float) -> Vector:
        moment = (selector.at if selector.at is not None else at) - selector.offset
        families, matches = self._matching(selector)
        found: Vector = []
        for family in families:
            for series in family():
                value = newest(series, moment, self.scrapes) if matches(series.labels) else None
                if value is not None:
                    found.append((series.labels, value))
        return [({"__name__": selector.name, **labels}, value) for labels, value in found] if selector.name else found

    def _range(self, expression: Expression, at: float) -> tuple[list[Sampled], float, float]:
        """The samples of a range argument, with the window's end and length."""
        match expression:
            case Selector(window=float() as window):
                moment = (expression.at if expression.at is not None else at) - expression.offset
                families, matches = self._matching(expression)
                each = [series for family in families for series in family() if matches(series.labels)]
                found = [sampled(series, moment, window, self.scrapes) for series in each]
                return [one for one in found if one is not None], moment, window
            case Subquery(inner, window, step):
                moment = (expression.at if expression.at is not None else at) - expression.offset
                return self._stepped(inner, moment, window, step), moment, window
            case _:
                raise QueryError("1:1: parse error: expected type range vector")

    def _stepped(self, inner: Expression, end: float, window: float, step: float) -> list[Sampled]:
        points: dict[Key, list[tuple[float, float]]] = {}
        number = math.floor((end - window) / step) + 1
        while number * step <= end:
            value = self.evaluate(inner, number * step)
            vector: Vector = value if isinstance(value, list) else [({}, float(value))]
            for labels, one in vector:
                points.setdefault(_key(labels), []).append((number * step, one))
            number += 1
        return [
            Sampled(dict(key), listed[0], listed[-1], len(listed), lambda listed=listed: listed)  # type: ignore[misc]
            for key, listed in points.items()
        ]

    def _call(self, call: Call, at: float) -> Vector | float | str:
        name, arguments = call.function, call.arguments
        if name == "time" and not arguments:
            return at
        if not arguments:
            raise QueryError(f'1:1: parse error: unknown function with name "{name}" or no arguments')
        if name in {"rate", "increase", "delta", "irate"} or name in functions.OVER_TIME:
            return self._over_range(name, arguments[-1], at)
        if name in functions.ELEMENTWISE:
            rest = [self._scalar(argument, at) for argument in arguments[1:]]
            found = self.vector(arguments[0], at)
            return [(_nameless(labels), float(functions.ELEMENTWISE[name](value, *rest))) for labels, value in found]
        return self._transformed(name, arguments, at)

    def _transformed(self, name: str, arguments: tuple[Expression, ...], at: float) -> Vector | float:
        match name, len(arguments):
            case "vector", 1:
                return [({}, self._scalar(arguments[0], at))]
            case "scalar", 1:
                found = self.vector(arguments[0], at)
                return found[0][1] if len(found) == 1 else math.nan
            case "absent", 1:
                return [] if self.vector(arguments[0], at) else [(_told(arguments[0]), 1.0)]
            case "histogram_quantile", 2:
                return functions.histogram_quantile(self._scalar(arguments[0], at), self.vector(arguments[1], at))
            case "sort" | "sort_desc", 1:
                return sorted(self.vector(arguments[0], at), key=lambda pair: pair[1], reverse=name == "sort_desc")
            case "timestamp", 1:
                scrape = self.scrapes.last(at) * self.scrapes.interval
                return [(_nameless(labels), scrape) for labels, _ in self.vector(arguments[0], at)]
            case _:
                raise QueryError(f'1:1: parse error: unknown function with name "{name}" (the sandbox knows a part of PromQL)')

    def _over_range(self, name: str, argument: Expression, at: float) -> Vector:
        found, end, window = self._range(argument, at)
        result: Vector = []
        for one in found:
            if name in functions.OVER_TIME:
                value: float | None = float(functions.OVER_TIME[name]([v for _, v in one.samples()]))
            else:
                per_second = name in {"rate", "irate"}
                value = functions.growth(one, end, window, per_second=per_second, counter=name != "delta")
            if value is not None:
                result.append((one.labels if name == "last_over_time" else _nameless(one.labels), value))
        return result

    def _scalar(self, expression: Expression, at: float) -> float:
        found = self.evaluate(expression, at)
        if not isinstance(found, float):
            raise QueryError("1:1: parse error: expected type scalar")
        return found

    def _aggregate(self, aggregation: Aggregation, at: float) -> Vector:
        groups: dict[Key, Vector] = {}
        for labels, value in self.vector(aggregation.expression, at):
            if aggregation.without:
                kept = {k: v for k, v in labels.items() if k not in aggregation.labels and k != "__name__"}
            else:
                kept = {k: labels[k] for k in aggregation.labels if k in labels}
            groups.setdefault(_key(kept), []).append((labels, value))
        if aggregation.parameter is not None:
            number = int(self._scalar(aggregation.parameter, at))
            best = aggregation.op == "topk"
            chosen = [sorted(found, key=lambda pair: pair[1], reverse=best)[:number] for found in groups.values()]
            return [pair for found in chosen for pair in found]
        return [(dict(key), _combined(aggregation.op, [v for _, v in found])) for key, found in groups.items()]

    def _binary(self, binary: Binary, at: float) -> Vector | float:
        left, right = self.evaluate(binary.left, at), self.evaluate(binary.right, at)
        if isinstance(left, str) or isinstance(right, str):
            raise QueryError("1:1: parse error: binary expression must contain only scalar and instant vector types")
        if isinstance(left, list) and isinstance(right, list):
            return _set(binary, left, right) if binary.op in SETS else _joined(binary, left, right)
        if binary.op in SETS:
            raise QueryError(f'1:1: parse error: set operator "{binary.op}" not allowed in binary scalar expression')
        if isinstance(left, list):
            return _with_scalar(binary, [(labels, value, (value, float(right))) for labels, value in left])  # type: ignore[arg-type]
        if isinstance(right, list):
            return _with_scalar(binary, [(labels, value, (left, value)) for labels, value in right])
        if binary.op in COMPARISONS:
            if not binary.returns_bool:
                raise QueryError("1:1: parse error: comparisons between scalars must use BOOL modifier")
            return float(functions.holds(binary.op, left, right))
        return functions.arithmetic(binary.op, left, right)


def _key(labels: Labels) -> Key:
    return tuple(sorted(labels.items()))


def _nameless(labels: Labels) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key != "__name__"}


def _told(expression: Expression) -> dict[str, str]:
    """The labels that `absent` gives back: those that the selector fixes."""
    matchers = expression.matchers if isinstance(expression, Selector) else ()
    return {m.label: m.value for m in matchers if m.op == "=" and m.label != "__name__"}


def _combined(op: str, values: list[float]) -> float:
    match op:
        case "sum":
            return math.fsum(values)
        case "avg":
            return math.fsum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "count":
            return float(len(values))
        case "stddev":
            mean = math.fsum(values) / len(values)
            return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        case _:
            return 1.0


def _with_scalar(binary: Binary, pairs: list[tuple[Labels, float, tuple[float, float]]]) -> Vector:
    result: Vector = []
    for labels, value, (left, right) in pairs:
        if binary.op not in COMPARISONS:
            result.append((_nameless(labels), functions.arithmetic(binary.op, left, right)))
        elif binary.returns_bool:
            result.append((_nameless(labels), float(functions.holds(binary.op, left, right))))
        elif functions.holds(binary.op, left, right):
            result.append((labels, value))
    return result


def _match_key(binary: Binary, labels: Labels) -> Key:
    if binary.on is not None:
        return _key({label: labels[label] for label in binary.on if label in labels})
    return _key({k: v for k, v in labels.items() if k != "__name__" and k not in binary.ignoring})


def _set(binary: Binary, left: Vector, right: Vector) -> Vector:
    there = {_match_key(binary, labels) for labels, _ in right}
    match binary.op:
        case "and":
            return [pair for pair in left if _match_key(binary, pair[0]) in there]
        case "unless":
            return [pair for pair in left if _match_key(binary, pair[0]) not in there]
        case _:
            here = {_match_key(binary, labels) for labels, _ in left}
            return left + [pair for pair in right if _match_key(binary, pair[0]) not in here]


def _joined(binary: Binary, left: Vector, right: Vector) -> Vector:
    """Match one-to-one, or many-to-one with group_left and group_right."""
    many, one = (right, left) if binary.group == "right" else (left, right)
    partners: dict[Key, tuple[Labels, float]] = {}
    for labels, value in one:
        key = _match_key(binary, labels)
        if key in partners:
            raise ExecutionError("found duplicate series for the match group on the one side; many-to-many matching not allowed")
        partners[key] = (labels, value)
    result: Vector = []
    used: set[Key] = set()
    for labels, value in many:
        key = _match_key(binary, labels)
        if key not in partners:
            continue
        if key in used and not binary.group:
            raise ExecutionError("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
        used.add(key)
        other, other_value = partners[key]
        kept = _kept(binary, labels, other)
        pair = (other_value, value) if binary.group == "right" else (value, other_value)
        result += _with_scalar(binary, [(kept, pair[0], pair)])
    return result


def _kept(binary: Binary, labels: Labels, other: Labels) -> dict[str, str]:
    if binary.group:
        return {**_nameless(labels), **{label: other[label] for label in binary.include if label in other}}
    if binary.op in COMPARISONS and not binary.returns_bool and binary.on is None:
        return dict(labels)
    return dict(_match_key(binary, labels))

"""APISIX's Prometheus metrics as questions: `5xx` and `latency` per pod, from `node`, which is the pod's IP without a port.

The templates use only labels that 2.15 to 3.18 have alike (facts of the exporter: `code, route, service, node` on
`apisix_http_status`, `type, route, service, node` and milliseconds on `apisix_http_latency`). What the gateway answers by
itself has `node=""` and is left out by naming pods. `instance` is kept so that each gateway's counter is followed by itself:
one gateway that restarts is then a reset of one series, not a fall of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

from rollout.adapters.promql import TemplateError, matcher

_METRIC = "apisix_"


def apisix_parameters(ask: str, parameters: Mapping[str, str]) -> dict[str, str] | None:
    """Turn `5xx` or `latency` into the parameters of `promql`; None for another ask.

    Both take `route` and `service` (the name with `prefer_name`, else the id; `name|id` for either) and `prefix`
    (`apisix_`). `5xx` takes `codes` (a regular expression, `5..`). `latency` takes `quantile` (0.95) and `type` (upstream).
    Raises TemplateError.
    """
    match ask:
        case "5xx":
            return _status(parameters)
        case "latency":
            return _latency(parameters)
        case _:
            return None


def _selection(parameters: Mapping[str, str]) -> list[str]:
    chosen = ['node=~"{{pods}}"']
    for label in ("route", "service"):
        value = parameters.get(label, "")
        if "{{" in value:
            raise TemplateError(f"the {label} holds braces")
        if value.strip(" |"):
            chosen.append(matcher(label, value))
    return chosen


def _prefix(parameters: Mapping[str, str]) -> str:
    prefix = parameters.get("prefix", _METRIC)
    if not prefix.isidentifier():
        raise TemplateError(f"the metric prefix is not a name: {prefix[:40]!r}")
    return prefix


def _status(parameters: Mapping[str, str]) -> dict[str, str]:
    codes = parameters.get("codes", "5..")
    if not codes or set(codes) - set("0123456789.|[]-()"):
        raise TemplateError("`codes` is a regular expression of status codes, for example 5.. or 502|503|504")
    metric, chosen = f"{_prefix(parameters)}http_status", ", ".join(_selection(parameters))
    return {
        "events": f'sum by (node, instance) ({metric}{{{chosen}, code=~"{codes}"}})',
        "requests": f"sum by (node, instance) ({metric}{{{chosen}}})",
        "label": "node",
        "by": "ip",
    }


def _latency(parameters: Mapping[str, str]) -> dict[str, str]:
    try:
        quantile = float(parameters.get("quantile", "0.95"))
    except ValueError:
        quantile = -1.0
    if not 0 < quantile < 1:
        raise TemplateError("`quantile` lies between 0 and 1, for example 0.95")
    kind = parameters.get("type", "upstream")
    if kind not in {"upstream", "request", "apisix"}:
        raise TemplateError("`type` is upstream, request or apisix")
    selection = ", ".join([*_selection(parameters), f'type="{kind}"'])
    buckets = f"increase({_prefix(parameters)}http_latency_bucket{{{selection}}}[{{{{window}}}}])"
    return {"gauge": f"histogram_quantile({quantile:g}, sum by (le, node) ({buckets}))", "label": "node", "by": "ip"}

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.adapters.promql import (
    TemplateError,
    alternation,
    chunks,
    fill,
    identity,
    matcher,
    pod_of,
    quoted,
    with_pods,
)
from rollout.adapters.promql_presets import apisix_parameters
from rollout.core.signals import PodKey

FIVE = timedelta(minutes=5)


def test_pods_become_an_alternation_in_which_a_dot_is_a_dot() -> None:
    text = fill('sum by (pod) (x{pod=~"{{pods}}"})', namespace="prod", window=FIVE)
    assert with_pods(text, ["10.1.2.3", "web-1"], "name") == 'sum by (pod) (x{pod=~"10[.]1[.]2[.]3|web-1"})'
    assert not re.fullmatch(alternation(["10.1.2.3"], "ip"), "10a1b2c3")


def test_window_and_namespace_are_filled_in() -> None:
    text = fill('increase(x{namespace="{{namespace}}",pod=~"{{ pods }}"}[{{window}}])', namespace="prod", window=FIVE)
    assert text == 'increase(x{namespace="prod",pod=~"{{pods}}"}[300s])'


@pytest.mark.parametrize("value", ["10.1.2.3", "10.1.2.3:8080"])
def test_an_address_matches_with_and_without_its_port(value: str) -> None:
    assert re.fullmatch(alternation(["10.1.2.3", "10.1.2.4"], "address"), value)
    assert pod_of(value, "address") == "10.1.2.3"


def test_an_ipv6_address_matches_in_brackets_with_its_port() -> None:
    assert re.fullmatch(alternation(["fd00::1"], "address").replace("[[]", r"\["), "[fd00::1]:8080")
    assert pod_of("[fd00::1]:8080", "address") == "fd00::1"
    assert pod_of("fd00::1", "address") == "fd00::1"


@given(st.text())
def test_no_name_can_leave_its_matcher(name: str) -> None:
    safe = identity(PodKey("prod", name, "uid", name), "name")
    if safe is not None:
        assert not set(alternation([safe], "name")) & set("\"'`\\{}()|*+?^$,=~ \n")


@pytest.mark.parametrize("name", ['a"} or vector(1) #', ".*", "a|b", "a\nb", "", "{{pods}}", "x" * 254])
def test_a_pod_whose_name_no_cluster_would_give_is_not_asked_for(name: str) -> None:
    assert identity(PodKey("prod", name, "uid", ""), "name") is None


@given(st.text())
def test_a_literal_ends_only_where_it_should(text: str) -> None:
    literal = quoted(text)
    inner = literal[1:-1]
    assert not re.search(r'(?<!\\)(?:\\\\)*"', inner)
    assert "\n" not in literal


def test_a_route_may_be_named_by_name_or_id() -> None:
    assert matcher("route", "checkout") == 'route="checkout"'
    assert matcher("route", 'a.b"|17') == 'route=~"a\\\\.b\\"|17"'


@pytest.mark.parametrize(
    ("template", "words"),
    [("up", "names no pods"), ('x{pod=~"{{pods}}"}[{{range}}]', "{{range}}"), ('x{pod=~"{{pod}}"}', "{{pod}}")],
)
def test_a_template_that_cannot_work_is_refused_in_words(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        fill(template, namespace="prod", window=FIVE)
    assert words in str(caught.value)


def test_many_pods_are_cut_into_queries_of_bearable_length_and_none_is_lost() -> None:
    names = [f"10.1.{n // 250}.{n % 250}" for n in range(11_000)]
    text = fill('sum by (node) (x{node=~"{{pods}}"})', namespace="prod", window=FIVE)
    cut = list(chunks(text, names, "ip"))
    assert max(len(query) for query, _ in cut) <= 8_000
    assert [name for _, batch in cut for name in batch] == names
    assert len(cut) < 40


def test_the_presets_for_apisix_count_only_what_a_pod_answered() -> None:
    made = apisix_parameters("5xx", {"route": "checkout"})
    assert made == {
        "events": 'sum by (node, instance) (apisix_http_status{node=~"{{pods}}", route="checkout", code=~"5.."})',
        "requests": 'sum by (node, instance) (apisix_http_status{node=~"{{pods}}", route="checkout"})',
        "label": "node",
        "by": "ip",
    }


def test_the_latency_preset_asks_for_a_quantile_of_the_upstream_time() -> None:
    made = apisix_parameters("latency", {"quantile": "0.99"})
    assert made is not None
    assert made["gauge"] == (
        "histogram_quantile(0.99, sum by (le, node) "
        '(increase(apisix_http_latency_bucket{node=~"{{pods}}", type="upstream"}[{{window}}])))'
    )


@pytest.mark.parametrize(
    ("ask", "parameters"),
    [
        ("5xx", {"codes": '5.."} or up{x="'}),
        ("5xx", {"prefix": "a{} or b"}),
        ("5xx", {"route": "{{pods}}"}),
        ("latency", {"quantile": "2"}),
        ("latency", {"type": "downstream"}),
    ],
)
def test_a_preset_refuses_parameters_that_would_change_the_query(ask: str, parameters: dict[str, str]) -> None:
    with pytest.raises(TemplateError):
        apisix_parameters(ask, parameters)

"""Allow-lists and answers that make no sense are refused before anything is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.gate import CONSUMER_RESTRICTION, ApisixVersion, GateConfig
from rollout.core.gate_checks import allow_list_problems, config_problems

halves = st.lists(st.integers(1, 6), min_size=0, max_size=6)


@pytest.mark.parametrize(
    "allow",
    [("10.0.0.0/8",), ("192.0.2.7",), ("::1",), ("2001:db8::/32", "10.1.2.3"), ("0.0.0.0/1",), ("10.1.2.3/8",), ("127.0.0.2",)],
)
def test_an_allow_list_of_some_is_accepted(allow: tuple[str, ...]) -> None:
    assert allow_list_problems(allow) == ()


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        (("0.0.0.0/0",), "every IPv4"),
        (("::/0",), "every IPv6"),
        (("10.0.0.1", "0.0.0.0/1", "128.0.0.0/1"), "every IPv4"),
        (("::/1", "8000::/1"), "every IPv6"),
        (("0.0.0.0",), "no client can have"),  # noqa: S104 - nothing listens here
        (("240.0.0.1", "224.0.0.0/4", "::"), "no client can have"),
        (("not-an-ip",), "neither an address"),
        (("10.0.0.0/33",), "neither an address"),
        (("10.0.0.0/255.0.0.0",), "neither an address"),
        (("10.0.0.0/0.255.255.255",), "neither an address"),
        ((" 10.0.0.1",), "neither an address"),
        (("fe80::1%eth0",), "neither an address"),
        (("",), "neither an address"),
    ],
)
def test_everybody_nobody_and_nonsense_are_refused(allow: tuple[str, ...], words: str) -> None:
    assert any(words in problem.message for problem in allow_list_problems(allow))


@given(st.integers(0, 6), st.randoms())
def test_a_cut_up_everybody_is_still_everybody(depth: int, random: object) -> None:
    pieces = [str(network) for network in ipaddress.ip_network("0.0.0.0/0").subnets(prefixlen_diff=depth)]
    assert any("every IPv4" in problem.message for problem in allow_list_problems(pieces))
    if depth:
        assert not any("every IPv4" in problem.message for problem in allow_list_problems(pieces[1:]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GateConfig((), "m"), "nobody in"),
        (GateConfig(("10.0.0.1",), ""), "needs a message"),
        (GateConfig(("10.0.0.1",), "x" * 1025), "1025 characters"),
        (GateConfig(("10.0.0.1",), "m", response_code=503), "answers 403 or 404"),
        (GateConfig(("10.0.0.1",), "m", response_code=404), "still answers 403"),
        (GateConfig(("10.0.0.1",), "m", plugin="cors"), "is no gate"),
        (GateConfig((" ",), "m", CONSUMER_RESTRICTION), "empty consumer"),
        (GateConfig(("tester",), "m", CONSUMER_RESTRICTION, 99), "no status code"),
    ],
)
def test_a_gate_that_cannot_work_is_refused_in_words(config: GateConfig, words: str) -> None:
    assert any(words in problem.message for problem in config_problems(config, ApisixVersion(3, 9)))


def test_a_gate_that_can_work_is_accepted() -> None:
    assert config_problems(GateConfig(("10.0.0.1",), "m", response_code=404), ApisixVersion(3, 13)) == ()
    assert config_problems(GateConfig(("tester",), "m", CONSUMER_RESTRICTION, 503)) == ()

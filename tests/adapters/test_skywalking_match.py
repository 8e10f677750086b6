from __future__ import annotations

from rollout.adapters.skywalking_match import Instance, match_instances, parse_instances
from rollout.core.signals import PodKey
from tests.adapters.questions import pod


def named(*names: str) -> list[Instance]:
    return [Instance(f"id-{name}", name) for name in names]


def names(matched: tuple[Instance, ...]) -> list[str]:
    return [instance.name for instance in matched]


def test_the_template_of_the_plan_comes_first() -> None:
    found = match_instances([pod(1)], named("10.1.2.1", "web-1@10.1.2.1", "prod.web-1"), "{{namespace}}.{{name}}")
    assert names(found["web-1"]) == ["prod.web-1"]


def test_without_a_template_the_order_is_ip_name_suffix_and_reported_addresses() -> None:
    reported = Instance("id-r", "f00", ("192.168.0.1", "10.1.2.1"))
    everything = [reported, *named("ab12@10.1.2.1", "web-1", "10.1.2.1")]
    expected = ["10.1.2.1", "web-1", "ab12@10.1.2.1", "f00"]
    for gone in range(4):
        left = [instance for instance in everything if instance.name not in expected[:gone]]
        assert names(match_instances([pod(1)], left)["web-1"]) == [expected[gone]]


def test_a_template_that_finds_nothing_falls_back() -> None:
    assert names(match_instances([pod(1)], named("10.1.2.1"), "{{name}}@{{ip}}")["web-1"]) == ["10.1.2.1"]


def test_one_address_is_not_taken_for_another_that_begins_or_ends_like_it() -> None:
    others = [*named("10.1.2.12", "ab@110.1.2.1", "10.1.2.1.5"), Instance("i", "x", ("10.1.2.11",))]
    assert match_instances([pod(1)], others) == {}


def test_a_process_that_was_restarted_has_two_instances_and_both_are_the_pods() -> None:
    assert names(match_instances([pod(1)], named("aa@10.1.2.1", "bb@10.1.2.1"))["web-1"]) == ["aa@10.1.2.1", "bb@10.1.2.1"]


def test_an_instance_that_two_pods_would_claim_belongs_to_neither() -> None:
    twins = [PodKey("prod", "a", "u1", "10.0.0.1"), PodKey("prod", "b", "u2", "10.0.0.1")]
    assert match_instances(twins, named("ff@10.0.0.1")) == {}


def test_a_name_that_was_cut_by_the_agent_is_known_again() -> None:
    long = PodKey("prod", "a-service-with-a-name-that-is-much-too-long-7d9c8b6f5-x2x4z", "u", "")
    assert long.name in match_instances([long], named(long.name[:50]))
    assert match_instances([long], named(long.name[:49])) == {}


def test_a_pod_without_an_ip_claims_nothing_by_address() -> None:
    assert match_instances([PodKey("prod", "web-9", "u", "")], [*named("x@"), Instance("i", "y", ("",))]) == {}


def test_the_list_is_read_with_what_the_agent_reported() -> None:
    listed = [{"id": "i", "name": "n", "attributes": [{"name": "ipv4s", "value": "10.1.2.1,192.168.0.1"}]}]
    assert parse_instances(listed) == (Instance("i", "n", ("10.1.2.1", "192.168.0.1")),)
    assert parse_instances([{"id": 7}]) is None
    assert parse_instances(None) is None

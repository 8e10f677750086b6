"""What an answer through the gateway proves about the gate, and what it does not."""

from __future__ import annotations

import json

import pytest

from rollout.core.gate import CONSUMER_RESTRICTION, GateConfig
from rollout.core.gate_probe import Passage, ProbeResult, Vantage, explain, passage, proves

CONFIG = GateConfig(("127.0.0.1",), "Back at 14:00")
OUTSIDE = Vantage("office", allowed=False, url="/shop")
INSIDE = Vantage("tests", allowed=True, url="/shop")
FIXED = json.dumps({"message": "Back at 14:00"})


def answer(vantage: Vantage, status: int, body: str = "") -> ProbeResult:
    return ProbeResult(vantage, "http://gw-1:9080", status, body)


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (403, FIXED, Passage.BLOCKED),
        (403, json.dumps({"message": "forbidden by the application"}), Passage.FORBIDDEN),
        (403, "<html>403</html>", Passage.FORBIDDEN),
        (404, FIXED, Passage.SERVED),
        (404, json.dumps({"error_msg": "404 Route Not Found"}), Passage.NO_ROUTE),
        (200, FIXED, Passage.SERVED),
        (500, "", Passage.SERVED),
        (502, "<html>", Passage.OPEN_DOWN),
        (503, "", Passage.OPEN_DOWN),
        (401, json.dumps({"message": "Missing API key found in request"}), Passage.SERVED),
        (0, "", Passage.UNREACHABLE),
        (200, "[1]", Passage.SERVED),
    ],
)
def test_only_the_fixed_answer_is_a_block(status: int, body: str, seen: Passage) -> None:
    assert passage(answer(OUTSIDE, status, body), CONFIG) is seen


def test_an_answer_without_a_body_is_judged_by_its_status() -> None:
    head = Vantage("office", allowed=False, url="/shop", method="HEAD")
    assert passage(answer(head, 403), CONFIG) is Passage.BLOCKED


def test_a_client_without_an_identity_is_kept_out_by_a_consumer_gate() -> None:
    config = GateConfig(("tester",), "Back at 14:00", CONSUMER_RESTRICTION, 503)
    words = {"message": "The request is rejected, please check the consumer_name for this request"}
    assert passage(answer(OUTSIDE, 401, json.dumps(words)), config) is Passage.BLOCKED
    assert passage(answer(OUTSIDE, 401, json.dumps({"message": "log in"})), config) is Passage.SERVED
    assert passage(answer(OUTSIDE, 503, FIXED), config) is Passage.BLOCKED


@pytest.mark.parametrize(
    ("vantage", "status", "body", "closed", "proven"),
    [
        (OUTSIDE, 403, FIXED, True, True),
        (OUTSIDE, 200, "", True, False),
        (OUTSIDE, 0, "", True, False),
        (OUTSIDE, 502, "", True, False),
        (INSIDE, 200, "", True, True),
        (INSIDE, 502, "", True, True),
        (INSIDE, 403, FIXED, True, False),
        (INSIDE, 403, json.dumps({"message": "whole gateway"}), True, False),
        (OUTSIDE, 403, json.dumps({"message": "whole gateway"}), True, False),
        (OUTSIDE, 403, json.dumps({"message": "whole gateway"}), False, False),
        (INSIDE, 0, "", True, False),
        (OUTSIDE, 200, "", False, True),
        (OUTSIDE, 403, FIXED, False, False),
        (OUTSIDE, 502, "", False, False),
    ],
)
def test_a_probe_proves_only_what_it_saw(vantage: Vantage, status: int, body: str, *, closed: bool, proven: bool) -> None:
    assert proves(answer(vantage, status, body), CONFIG, closed=closed) is proven


def test_the_words_say_what_was_seen_and_expected() -> None:
    assert explain(answer(OUTSIDE, 200), CONFIG, closed=True) == (
        "office at http://gw-1:9080: HTTP 200, served; expected the fixed answer from a closed gate"
    )
    lost = ProbeResult(INSIDE, "gw", error="no answer within 5 s")
    assert explain(lost, CONFIG, closed=False) == "tests at gw: no answer within 5 s; expected the service from an open gate"

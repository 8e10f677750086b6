"""Verdicts read from JUnit XML in a log, as several tools write it, whole and in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.junit import MOST, Case, cases_in

PYTEST = """\
collected 3 items
<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3">
<testcase classname="tests.test_shop" name="test_cart[a-&gt;b]" time="0.001" />
<testcase classname="tests.test_shop" name="test_pay" time="0.1"><failure message="assert 1 == 2">def test_pay():
&gt;  assert 1 == 2</failure></testcase>
<testcase classname="tests.test_shop" name="test_later" time="0"><skipped message="not today"/></testcase>
</testsuite></testsuites>
bye
"""


def test_the_cases_of_a_document_within_a_log_are_listed_in_order() -> None:
    assert cases_in(PYTEST) == (
        Case("tests.test_shop.test_cart[a->b]", passed=True),
        Case("tests.test_shop.test_pay", passed=False, message="assert 1 == 2"),
        Case("tests.test_shop.test_later", passed=True),
    )


@pytest.mark.parametrize(
    "log", ["", "all 12 tests passed", "<testsuite name='x' tests='0'></testsuite>", "<html><body>502</body></html>"]
)
def test_a_log_without_cases_has_none(log: str) -> None:
    assert cases_in(log) == ()


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<testcase name='a'><error type='E' message='it \"broke\"'>trace</error></testcase>", 'it "broke"'),
        ('<testcase name="a"><failure type="E">expected: 3 &amp; got: 4\n</failure></testcase>', "expected: 3 & got: 4"),
        ('<testcase name="a"><failure/></testcase>', "failed"),
        ('<testcase name="a"><failure></failure></testcase>', "failed"),
        ('<testcase name="a"><failure message="m"><![CDATA[at x <b>]]></failure></testcase>', "m"),
        ('<testcase name="a"><system-out>x</system-out><error message="late"/></testcase>', "late"),
    ],
)
def test_a_failure_is_seen_as_every_tool_writes_it(xml: str, message: str) -> None:
    assert cases_in(f"<testsuite>{xml}</testsuite>") == (Case("a", passed=False, message=message),)


def test_a_name_may_hold_a_greater_sign() -> None:
    assert cases_in('<testsuite><testcase name="1 > 0"/><testcase name="a/>b"></testcase></testsuite>') == (
        Case("1 > 0", passed=True),
        Case("a/>b", passed=True),
    )


def test_what_a_test_printed_is_no_verdict() -> None:
    printed = "<system-out><![CDATA[<testcase name='ghost'><failure/></testcase>]]></system-out><!-- <failure/> -->"
    assert cases_in(f'<testsuite><testcase name="a">{printed}</testcase></testsuite>') == (Case("a", passed=True),)


def test_a_document_whose_beginning_was_cut_off_still_shows_its_failures() -> None:
    tail = PYTEST[PYTEST.index('<testcase classname="tests.test_shop" name="test_pay"') :]
    assert [case.passed for case in cases_in(tail)] == [False, True]


def test_a_document_whose_end_was_cut_off_still_shows_its_failures() -> None:
    head = PYTEST[: PYTEST.index("</failure>")]
    assert [case.passed for case in cases_in(head)] == [True, False]


def test_a_case_that_is_cut_off_before_its_verdict_is_left_out() -> None:
    assert [case.name for case in cases_in('<testcase name="a"/><testcase name="b"><system-out>so far')] == ["a"]


def test_a_failure_among_very_many_cases_is_not_lost() -> None:
    cases = "".join(f'<testcase name="t{n}"/>' for n in range(3 * MOST))
    found = cases_in(f'<testsuite>{cases}<testcase name="last"><failure message="no"/></testcase></testsuite>')
    assert len(found) == MOST
    assert [case.name for case in found if not case.passed] == ["last"]


@pytest.mark.parametrize(
    "log", ["<testcase " * 200_000, '<testcase name="' * 100_000, "<testsuite><testcase" + " a" * 500_000, "<!--" * 500_000]
)
def test_nonsense_of_any_length_is_read_in_a_moment(log: str) -> None:
    assert cases_in(log) == ()


@given(st.text(alphabet="<>/=\"' atesc!-[]CDA\n&;", max_size=300).map(lambda text: f"<testsuite><testcase{text}"))
def test_any_text_has_cases_or_none_and_no_error(log: str) -> None:
    for case in cases_in(log):
        assert case.passed == (case.message == "")


@pytest.mark.parametrize(
    ("log", "cases"),
    [
        ("no report at all", ()),
        ('<testsuite><testcase name="a"/></testsuite>', (Case("a", passed=True),)),
        ("<testcase classname='shop' name='buy'></testcase>", (Case("shop.buy", passed=True),)),
        ('<testcase name="a"><failure message="1 > 0">x</failure></testcase>', (Case("a", passed=False, message="1 > 0"),)),
        ('<testcase name="a > b"/><testcase name="c"/>', (Case("a > b", passed=True), Case("c", passed=True))),
        ('<testcase name="a"><error/></testcase>', (Case("a", passed=False, message="failed"),)),
        ('<testcase name="a"><skipped/></testcase>', (Case("a", passed=True),)),
        (
            '<testcase name="a"><system-out><failure message="printed"/></system-out></testcase>',
            (Case("a", passed=True),),
        ),
        ('<testcase name="a"><![CDATA[<failure message="printed"/>]]></testcase>', (Case("a", passed=True),)),
        ('rest of a case</testcase><testcase name="b"/>', (Case("b", passed=True),)),
        ('<testcase name="b"/><testcase name="c"><fail', (Case("b", passed=True),)),
    ],
)
def test_cases_are_read_with_their_verdict(log: str, cases: tuple[Case, ...]) -> None:
    assert cases_in(log) == cases

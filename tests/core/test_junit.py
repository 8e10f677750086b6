"""JUnit reports as they stand in the logs of real Jobs: among other words, cut off, with odd characters."""

from __future__ import annotations

import pytest

from rollout.core.junit import Case, cases_in


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


def test_a_long_report_is_read_up_to_its_bound() -> None:
    assert len(cases_in("".join(f'<testcase name="{n}"/>' for n in range(2_000)))) == 500

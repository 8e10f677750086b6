"""Test results in JUnit's XML, where a Job's log holds them: each case with its verdict.

Read by patterns, not by an XML parser: what stands around the document in a log is no XML, entities of a foreign document are
never expanded, and only names and verdicts are wanted.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

_CASE = re.compile(r"<testcase\b([^>]*?)(/>|>(.*?)</testcase>)", re.DOTALL)
_ATTRIBUTE = re.compile(r'([\w:-]+)\s*=\s*"([^"]*)"')
_BAD = re.compile(r"<(failure|error)\b([^>]*)")
MOST = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One test case. `message` is the failure's, empty when it passed or was skipped."""

    name: str
    passed: bool
    message: str = ""


def cases_in(log: str) -> tuple[Case, ...]:
    """List the cases that a log shows, in order; none where it holds no JUnit XML.

    >>> cases_in('<testsuite><testcase name="a"/><testcase name="b"><failure message="x &lt; y"/></testcase></testsuite>')
    (Case(name='a', passed=True, message=''), Case(name='b', passed=False, message='x < y'))
    """
    if "<testsuite" not in log:
        return ()
    found: list[Case] = []
    for match in list(_CASE.finditer(log))[:MOST]:
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        bad = _BAD.search(match[3] or "")
        message = dict(_ATTRIBUTE.findall(bad[2])).get("message", "failed") if bad else ""
        name = ".".join(filter(None, (attributes.get("classname", ""), attributes.get("name", ""))))
        found.append(Case(html.unescape(name), bad is None, html.unescape(message)[:500]))
    return tuple(found)

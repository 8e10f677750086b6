"""Test results in JUnit's XML, where a Job's log holds them: each case with its verdict.

Read by patterns, not by an XML parser: what stands around the document in a log is no XML, entities of a foreign document are
never expanded, and only names and verdicts are wanted.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from itertools import islice

_INSIDE = r"""((?:[^>"']|"[^"]*"|'[^']*')*?)"""
"""The attributes of a tag: a `>` between quotes does not end it."""
_CASE = re.compile(rf"<testcase\b{_INSIDE}(/>|>(.*?)</testcase\s*>)", re.DOTALL)
_BAD = re.compile(rf"<(failure|error)\b{_INSIDE}/?>", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*("[^"]*"|'[^']*')""")
_NO_MARKUP = re.compile(r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|<system-(out|err)\b[^>]*>.*?</system-\1\s*>", re.DOTALL)
"""What a program printed may look like a test case."""
LARGEST = 1024 * 1024
"""Characters of a log's end that are looked at."""
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
    if "<testcase" not in log:
        return ()
    found: list[Case] = []
    for match in islice(_CASE.finditer(_NO_MARKUP.sub("", log[-LARGEST:])), MOST):
        attributes = _attributes(match[1])
        bad = _BAD.search(match[3] or "")
        message = _attributes(bad[2]).get("message", "") or "failed" if bad else ""
        name = ".".join(filter(None, (attributes.get("classname", ""), attributes.get("name", ""))))
        found.append(Case(html.unescape(name), bad is None, html.unescape(message)[:500]))
    return tuple(found)


def _attributes(text: str) -> dict[str, str]:
    return {name: value[1:-1] for name, value in _ATTRIBUTE.findall(text)}

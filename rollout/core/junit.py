"""Test results in JUnit's XML, where a Job's log holds them: each case with its verdict.

Read by patterns, not by an XML parser: what stands around the document in a log is no XML, entities of a foreign document are
never expanded, the document's beginning or end may be cut off, and only names and verdicts are wanted.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

_NO_MARKUP = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL)
_PRINTED = re.compile(r"<system-(out|err)\b[^>]*>.*?(?:</system-\1\s*>|(?=<testcase\b)|\Z)", re.DOTALL)
"""What a program printed may look like a verdict."""
_BEGINS = re.compile(r"<testcase\b")
_TAG = re.compile(r"""((?:[^<>"']|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_BAD = re.compile(r"<(failure|error)\b")
MOST = 500
LONGEST = 500
LARGEST = 1024 * 1024
"""Characters of a log's end that are looked at."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test case. `message` is the failure's, empty when it passed or was skipped."""

    name: str
    passed: bool
    message: str = ""


def cases_in(log: str) -> tuple[Case, ...]:
    """List the cases that a log shows, in order; none where it holds no JUnit XML. At most `MOST`, those that failed first of all.

    >>> cases_in('<testsuite><testcase name="a"/><testcase name="b"><failure message="x &lt; y"/></testcase></testsuite>')
    (Case(name='a', passed=True, message=''), Case(name='b', passed=False, message='x < y'))
    """
    if "<testcase" not in log:
        return ()
    pieces = _BEGINS.split(_PRINTED.sub(" ", _NO_MARKUP.sub(" ", log[-LARGEST:])))[1:]
    found = [case for case in map(_case, pieces) if case is not None]
    if len(found) <= MOST:
        return tuple(found)
    failed = [case for case in found if not case.passed][:MOST]
    passed = [case for case in found if case.passed]
    return (*failed, *passed[: MOST - len(failed)])


def _case(piece: str) -> Case | None:
    """Read what follows one `<testcase`; None where the log was cut off before its verdict."""
    tag = _TAG.match(piece)
    if tag is None:
        return None
    own = _attributes(tag[1])
    body, end, _ = ("", "/", "") if tag[1].endswith("/") else piece[tag.end() :].partition("</testcase")
    bad = _BAD.search(body)
    if bad is None and not end:
        return None
    name = ".".join(filter(None, (own.get("classname", ""), own.get("name", ""))))[:LONGEST]
    return Case(name, bad is None, _message(body[bad.end() :]) if bad is not None else "")


def _message(rest: str) -> str:
    """Take the failure's message, else the first words of its text."""
    tag = _TAG.match(rest)
    if tag is None:
        return "failed"
    told = _attributes(tag[1]).get("message", "")
    if not told and not tag[1].endswith("/"):
        told = html.unescape(rest[tag.end() :].partition("<")[0]).strip()
    return told[:LONGEST] or "failed"


def _attributes(text: str) -> dict[str, str]:
    return {name: html.unescape(double or single) for name, double, single in _ATTRIBUTE.findall(text)}

"""The planted bugs still fit the code: seen in a second here, and not after half an hour of CI."""

from __future__ import annotations

import pytest

from tests.simulation.planted import ROOT
from tests.simulation.planted_bugs import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_lines_that_a_planted_bug_replaces_stand_there_once(bug: Bug) -> None:
    for change in bug.changes:
        assert (ROOT / change.path).read_text().count(change.old) == 1, change.path


def test_planted_bugs_have_names_of_their_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) > 16

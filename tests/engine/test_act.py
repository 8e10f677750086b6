"""What is told of a write to a cluster that was not made."""

from __future__ import annotations

from typing import Any, cast

import pytest

from rollout.core.effects import PatchDeployment
from rollout.engine.act import Hands
from rollout.ports import Cluster, Conflict, Rejected, Unavailable

PATCH = PatchDeployment("default", "web", "nginx-canary", "nginx", replicas=0, why="step back: canary to 0")


class Api:
    """Answers every write as it is told to."""

    def __init__(self, answer: Exception | None) -> None:
        self.answer = answer

    def apply(self, patch: PatchDeployment, **_: Any) -> None:  # noqa: ANN401 - a timeout
        assert patch is PATCH
        if self.answer is not None:
            raise self.answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, ""),
        (Conflict("default", "somebody was faster", code=409), ""),
        (Rejected("default", "forbidden: cannot patch deployments", code=403), "cannot patch deployments"),
        (Rejected("default", "admission webhook denied the request", code=400), "denied the request"),
        (Unavailable("default", "too many requests (429)"), "too many requests"),
    ],
)
def test_a_write_that_was_not_made_is_told_in_words_unless_somebody_was_faster(answer: Exception | None, told: str) -> None:
    words = Hands({"default": cast("Cluster", Api(answer))}).apply("r-1", PATCH)
    assert (told in words) if told else words == ""


def test_a_cluster_that_the_configuration_no_longer_has_is_named() -> None:
    assert "no cluster 'default' is configured" in Hands({}).apply("r-1", PATCH)

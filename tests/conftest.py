"""What all tests share: the real servers of tests/peers, as fixtures."""

import pytest
import structlog
from hypothesis import settings

# A generated example may take as long as a busy machine makes it: time is measured in tests/bench, never in tests.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["tests.peers.fixtures"]


@pytest.fixture(autouse=True)
def plain_log() -> None:
    """What one test did to the log (its level, where it goes) is not there for the next, in whatever order they are played."""
    structlog.reset_defaults()

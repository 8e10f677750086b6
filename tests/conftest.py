"""What all tests share: the real servers of tests/peers, as fixtures."""

from hypothesis import settings

# A generated example may take as long as a busy machine makes it: time is measured in tests/bench, never in tests.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["tests.peers.fixtures"]

"""What all tests share: the real servers of tests/peers, as fixtures."""

pytest_plugins = ["tests.peers.fixtures"]

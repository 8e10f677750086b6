"""A small pretend world behind the real wire protocols, for the demo and for tests."""

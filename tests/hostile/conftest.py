"""Commands set up logging; afterwards it is as before."""

from tests.cli.conftest import logging_as_before

__all__ = ["logging_as_before"]

"""The log of a story is its own: what the daemon would print of thousands of them only costs time."""

from __future__ import annotations

import logging

import structlog


def quiet() -> None:
    """Let the daemon's log say nothing in this process, until somebody sets it up anew."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

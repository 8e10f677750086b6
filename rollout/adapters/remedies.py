"""What to do about a backend that does not answer as it should, for `doctor`."""

from __future__ import annotations

from rollout.ports import Rejected, Unavailable

_CREDENTIALS = frozenset({401, 403})


def remedy_for(failure: Rejected | Unavailable, address: str) -> str:
    """Choose between credentials and address: whoever says no to us was found. `address` is the remedy where it is not that."""
    if isinstance(failure, Rejected) and failure.code in _CREDENTIALS:
        return "give it credentials that it accepts: username and passwordFile, or bearerTokenFile, of this backend's entry"
    return address

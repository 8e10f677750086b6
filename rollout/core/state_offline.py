"""The steps of the offline procedure, as stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assessing:
    """Who will be hurt: the report is being made."""


OfflineStep = Assessing

"""Commands out of season: what a command would change now is said before anybody believes in it, in the machine's own words.

A rollout is asked with the state that the database has. What the daemon has learned since may be more; so this only says no where
the step as such has nothing to do with the command.
"""

from __future__ import annotations

from rollout.core import offline_wishes
from rollout.core.commands import Command, Verb
from rollout.core.plan import OfflinePlan, Plan
from rollout.core.rulings import moot
from rollout.core.state import State
from rollout.core.state_offline import OfflineMemory, OpeningGate, WatchingOpen


def without_effect(plan: Plan, state: State, command: Command) -> str:
    """Say why a command would change nothing in this state; empty where it would, or may."""
    return moot(state, command) or (_maintenance(plan, state, command.verb) if isinstance(plan, OfflinePlan) else "")


def _maintenance(plan: OfflinePlan, state: State, verb: Verb) -> str:
    step, memory = state.step, state.offline or OfflineMemory()
    match verb:
        case Verb.ACKNOWLEDGE if not plan.spec.impact.acknowledgement:
            return "its plan asks for no acknowledgement (spec.impact.acknowledgement)"
        case Verb.ACKNOWLEDGE if memory.acknowledged:
            return f"{memory.acknowledged} has acknowledged the report already"
        case Verb.EXTEND if isinstance(step, OpeningGate | WatchingOpen):
            return "the gate is being opened or open already: there is no window left to extend"
        case Verb.ABORT:
            return offline_wishes.impossible(state, None)
        case _:
            wish = offline_wishes.WISHES.get(verb)
            return offline_wishes.impossible(state, wish) if wish is not None else ""

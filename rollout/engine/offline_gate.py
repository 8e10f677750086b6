"""Performs what the offline procedure asks of a gateway: read, close, guard, prove, open, rehearse.

Performers may be asked twice, late, or by a daemon that died: each says what the gate shall be, and looks. A gate that this process
has begun to open for a rollout is never closed again for it, however late a guard's turn comes; nor is one that an heir opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from rollout.core.decision import Execution
from rollout.core.errors import Refused, RolloutError
from rollout.core.gate import GateConfig, GateObject, SavedGate
from rollout.core.gate_plan import grown, is_as_saved, is_closed, is_ours
from rollout.core.gate_probe import Passage, ProbeResult, explain, passage, proves
from rollout.core.observation import Line, Task, TaskResult
from rollout.core.offline_facts import memory_of, plan_in, saved_gate, saved_gates
from rollout.core.plan_gate import Gate
from rollout.core.state import State
from rollout.core.steps.offline_open import REOPENED
from rollout.core.wording import plural
from rollout.engine.gate_moved import NOT_FOUND, Gates, Standing, advice_gone, advice_past, gates_of, reach_of, successor
from rollout.ports import Check, Clock, Gateway, Rejected, RolloutRow

OPENING = frozenset({"openinggate", "watchingopen"})


class GateTasks:
    """The performers of every `gate-...` task. `gateways` by name; `stored` finds a rollout's row, as the database has it now."""

    def __init__(
        self, gateways: Mapping[str, Gateway], clock: Clock, stored: Callable[[str], RolloutRow | None] | None = None
    ) -> None:
        self._gateways = gateways
        self._clock = clock
        self._stored = stored
        self._lock = threading.Lock()
        self._writing: dict[str, threading.Lock] = {}
        self._opened: set[str] = set()

    def performers(self) -> dict[str, Callable[[Execution, State, Task], TaskResult]]:
        """List them by kind of task."""
        return {
            "gate-read": self.read,
            "gate-close": self.close,
            "gate-guard": self.guard,
            "gate-verify": self.verify,
            "gate-open": self.open,
            "gate-watch": self.watch,
            "gate-rehearse": self.rehearse,
        }

    def gateway(self, gate: Gate) -> Gateway:
        """Find the plan's gateway. Raises Refused where it is not configured."""
        found = self._gateways.get(gate.gateway)
        if found is None:
            known = ", ".join(sorted(self._gateways)) or "none"
            raise Refused(f"no gateway {gate.gateway!r} is configured; configured: {known}")
        return found

    def read(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Find the gate and take what stands on it. A gate of ours that was read before is read by what was saved."""
        del state
        gate = plan_in(execution).spec.gate
        found = self.gateway(gate).find(gate.target, gate.config.plugin)
        if is_closed(found, gate.config):
            raise Refused(
                f"{found} is closed already, exactly as this plan would: what stood there before is not known; open it first"
            )
        saved = found.save()
        before = "nothing" if saved.absent else "a configuration of its own"
        reach = reach_of(self.gateway(gate), gate, found)
        return self._done(task, f"{found} has {before}", facts={"saved": saved.to_json(), "gate": str(found), "reach": reach})

    def close(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Make it closed. Only ever with what stood there in the state that was committed."""
        saved = self._saved(state)
        gate = plan_in(execution).spec.gate
        gateway = self.gateway(gate)
        with self._writer(execution.id):
            self._refuse_opened(execution.id)
            self._refuse_opened_by_heir(execution.id)
            found = gateway.read(saved.place, gate.config.plugin, gate.target.rule)
            if not is_as_saved(found, saved) and not is_ours(found, gate.config):
                words = f"{found} was changed by somebody else after it was saved"
                return self._done(task, words, ok=False, facts={"changed": "yes"})
            found = gateway.close_gate(saved.place, gate.config, gate.target.rule)
        return self._done(task, f"{found} lets only the allow-list through")

    def guard(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Look whether it is still closed; close it again where it is not, and say who seems to have written it.

        Where its object is gone, what took its place is found; it is closed when the row has what stood on it.
        """
        gate = plan_in(execution).spec.gate
        gateway = self.gateway(gate)
        with self._writer(execution.id):
            self._refuse_opened(execution.id)
            try:
                gates = gates_of(gateway, gate, state, gate.target.rule)
            except Rejected as no:
                return self._unread(task, state, gate, no)
            if not gates.standing:
                return self._followed(task, state, gate, gates)
            open_ = [one for one in gates.standing if not is_closed(one.found, gate.config)]
            if not open_:
                return self._guarded(task, state, gate, gates.standing[-1].found)
            self._refuse_opened_by_heir(execution.id)
            closed = [gateway.close_gate(one.saved.place, gate.config, gate.target.rule) for one in open_]
        return self._closed_again(task, open_[0], closed, state)

    def _closed_again(self, task: Task, first: Standing, closed: Sequence[GateObject], state: State) -> TaskResult:
        names = ", ".join(map(str, closed))
        if first.saved != saved_gates(state)[0] and is_as_saved(first.found, first.saved):
            why = f"{names} took the place of the gate that is gone, and is closed now"
            return self._done(task, why, ok=False, facts={"gate": "followed"})
        owner = f"; it is also written by {first.found.owner}" if first.found.owner else ""
        facts = {"gate": "open", "found": first.found.save().to_json()}
        return self._done(task, f"{names} was opened by somebody else{owner}; it is closed again", ok=False, facts=facts)

    def _guarded(self, task: Task, state: State, gate: Gate, found: GateObject) -> TaskResult:
        """Knock from outside as well: a way past the gate does not show in the object."""
        through = self._through(state, gate)
        if through:
            words = f"{found} is closed, but somebody from outside was let through: {through}"
            facts = {"gate": "open", "advice": advice_past(self.gateway(gate), gate, found)}
            return self._done(task, words, ok=False, facts=facts)
        return self._done(task, f"{found} is closed")

    def _followed(self, task: Task, state: State, gate: Gate, gates: Gates) -> TaskResult:
        """Deleted: look for what was made anew in its place. What stands on that goes into the row before it is written."""
        try:
            new = successor(self.gateway(gate), gate, state)
        except (Refused, Rejected) as why:
            return self._unread(task, state, gate, gates.gone, str(why))
        words = f"{gates.gone}, but {new.found} has taken its place: what stands on it is saved, then it is closed"
        return self._done(task, words, ok=False, facts={"gate": "moved", "successor": new.saved.to_json()})

    def _unread(self, task: Task, state: State, gate: Gate, no: Rejected | None, more: str = "") -> TaskResult:
        """Deleted, or our key was changed: what outside gets is all that can be known."""
        through = self._through(state, gate)
        words = f"{no}; {more}" if more else str(no)
        words += f"; and somebody from outside was let through: {through}" if through else ""
        told = {"advice": advice_gone(gate, through=bool(through))} if more else {}
        return self._done(task, words, ok=False, facts={"gate": "open" if through else "unknown", **told})

    def _through(self, state: State, gate: Gate) -> str:
        """Knock from outside where that has proven the gate before; say who was let through."""
        outside = [vantage for vantage in gate.vantages if not vantage.allowed] if memory_of(state).gate_proven else []
        results = [result for vantage in outside for result in self.gateway(gate).probe(vantage)]
        return next((explain(r, gate.config, closed=True) for r in results if passage(r, gate.config).let_through), "")

    def verify(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Read back and probe every vantage on every node. `proven`: `yes`, `no` (contradicted), or `unproven`."""
        gate = plan_in(execution).spec.gate
        gateway = self.gateway(gate)
        closed = task.argument("wanted") == "closed"
        gates = self._existing(gateway, gate, state, gate.target.rule if closed else "")
        found = gates[-1].found
        wrong = [one.found for one in gates if not _as_wanted(one, gate.config, closed=closed)]
        if wrong:
            why = f"{wrong[0]} reads back as something else than {'the closed gate' if closed else 'what was saved'}"
            return self._done(task, why, ok=False, facts={"proven": "no"}, lines=(Line("gate", "failed", why),))
        probed = [(vantage, result) for vantage in gate.vantages for result in gateway.probe(vantage)]
        lines = tuple(_line(result, gate.config, closed=closed) for _, result in probed)
        outside = any(not vantage.allowed for vantage, _ in probed)
        proven = _proven(lines, outside=outside)
        agree = f"{plural(len(lines), 'probe')} {'agrees' if len(lines) == 1 else 'agree'}"
        words = {
            "yes": f"read back, and {agree}",
            "no": "a probe contradicts it",
            "unproven": "read back; no probe proves it",
        }[proven]
        return self._done(task, f"{found}: {words}", ok=proven != "no", facts={"proven": proven}, lines=lines)

    def open(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Put back exactly what was saved."""
        gate = plan_in(execution).spec.gate
        gateway = self.gateway(gate)
        with self._writer(execution.id):
            self._opened.add(execution.id)
            saved = [one.saved for one in self._existing(gateway, gate, state)]
            found = [gateway.open_gate(self._grown(one, gate)) for one in saved]
        are = "is as it was" if len(found) == 1 else "are as they were"
        return self._done(task, f"{', '.join(map(str, found))} {are} found", facts={"at": _text(self._clock.now())})

    def watch(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """After opening: a late write of ours is taken back, somebody else's is left alone and told."""
        gate = plan_in(execution).spec.gate
        gateway = self.gateway(gate)
        gates = self._existing(gateway, gate, state, gate.target.rule)
        other = ""
        for one in gates:
            saved = grown(one.saved, one.found, gate.config)
            if is_as_saved(one.found, saved) or _restored(one.found, saved):
                continue
            if is_closed(one.found, gate.config):
                gateway.open_gate(saved)
                why = f"{one.found} was closed once more by a write that came late; it is open again"
                return self._done(task, why, ok=False, facts={REOPENED: "yes"})
            other = f"{one.found} was changed by somebody else after it was opened; it is left alone"
        return self._done(task, other or f"{gates[-1].found} is as it was found", ok=not other)

    def rehearse(self, execution: Execution, state: State, task: Task) -> TaskResult:
        """Try everything but the write. A gateway that does not answer was not rehearsed."""
        del state
        gate = plan_in(execution).spec.gate
        checks = self.gateway(gate).rehearse(gate.target, gate.config, gate.vantages)
        lines = tuple(Line(c.name, c.level, c.message, c.remedy) for c in checks)
        refused = [line for line in lines if line.level == "refused" or is_away(line)]
        why = refused[0].message if refused else f"{len(lines)} checks passed"
        return self._done(task, why, ok=not refused, lines=lines)

    def _grown(self, saved: SavedGate, gate: Gate) -> SavedGate:
        """Take in what the guard closed beside what was saved: rules that came to the object in the window."""
        if not saved.place.kind.in_cluster:
            return saved
        return grown(saved, self.gateway(gate).read(saved.place, gate.config.plugin, gate.target.rule), gate.config)

    def _existing(self, gateway: Gateway, gate: Gate, state: State, rule: str = "") -> tuple[Standing, ...]:
        """Read every gate that is there, or else what was made anew in its place. Raises Rejected (404) where there is neither."""
        gates = gates_of(gateway, gate, state, rule)
        if gates.standing or gates.gone is None:
            return gates.standing
        try:
            return (successor(gateway, gate, state),)
        except (Refused, Rejected) as why:
            raise Rejected(gate.gateway, f"{gates.gone}; {why}", code=NOT_FOUND) from None

    def _writer(self, rollout: str) -> threading.Lock:
        with self._lock:
            return self._writing.setdefault(rollout, threading.Lock())

    def _refuse_opened(self, rollout: str) -> None:
        if rollout in self._opened:
            raise Refused("the gate is being opened already; it is not closed again")

    def _refuse_opened_by_heir(self, rollout: str) -> None:
        """See that nobody took over while this process slept and opens the gate by now: nobody would open it a second time.

        While the database does not answer nobody can have taken over by its word, and the gate is guarded as before.
        """
        try:
            row = self._stored(rollout) if self._stored is not None else None
        except RolloutError:
            return
        if row is not None and (row.outcome.at_rest or row.step in OPENING):
            raise Refused(f"the gate is being opened or was, says the database ({row.step}); it is not closed again")

    def _saved(self, state: State) -> SavedGate:
        saved = saved_gate(state)
        if saved is None:
            raise Refused("what stood on the gate is not saved; nothing is written")
        return saved

    def _done(self, task: Task, why: str, *, ok: bool = True, facts: Mapping[str, str] | None = None,
              lines: tuple[Line, ...] = ()) -> TaskResult:  # fmt: skip
        return TaskResult(task.key, self._clock.now(), "done", ok=ok, why=why, lines=lines, facts=facts or {})


def is_away(check: Line | Check) -> bool:
    """Say whether a rehearsal ended because the gateway did not answer: the gate itself could not be looked at."""
    return check.name == "gate" and check.level == "warning"


def _restored(found: GateObject, saved: SavedGate) -> bool:
    return found.save() == saved


def _as_wanted(one: Standing, config: GateConfig, *, closed: bool) -> bool:
    return is_closed(one.found, config) if closed else is_as_saved(one.found, grown(one.saved, one.found, config))


def _text(at: datetime) -> str:
    return at.isoformat()


def _line(result: ProbeResult, config: GateConfig, *, closed: bool) -> Line:
    words = explain(result, config, closed=closed)
    if proves(result, config, closed=closed):
        return Line("probe", "ok", words)
    seen = passage(result, config)
    wrong = seen.let_through if closed and not result.vantage.allowed else seen is Passage.BLOCKED
    return Line("probe", "failed" if wrong else "warning", words)


def _proven(lines: tuple[Line, ...], *, outside: bool) -> str:
    levels = {line.level for line in lines}
    if "failed" in levels:
        return "no"
    return "yes" if outside and levels == {"ok"} else "unproven"

"""The list of bugs that are planted: what each would be in real life, and the lines that make it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Replaced:
    """Lines of one file, which must stand there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """One bug. `test`: the test file that must find it; empty: the simulation must.

    `like`: a word of the stories in which it can show at all, so that others are not played in vain; empty: any story.
    """

    name: str
    changes: tuple[Replaced, ...]
    test: str = ""
    like: str = ""


def _bug(name: str, path: str, old: str, new: str, *more: Replaced, test: str = "", like: str = "") -> Bug:
    return Bug(name, (Replaced(path, old, new), *more), test, like)


ENGINE = "rollout/engine/engine.py"
SAVING = "rollout/engine/saving.py"
OUTBOX = "rollout/engine/outbox.py"
MEMORY = "rollout/store/memory.py"
ACTIONS = "rollout/core/actions.py"
STOPS = "rollout/core/canary_stops.py"
STEPS = "rollout/core/steps"
GUARDS = "rollout/core/guards.py"
EVIDENCE = "rollout/core/evidence.py"
COUNTS = "rollout/core/judge_counts.py"
BURSTS = "rollout/core/judge_bursts.py"

BUGS = (
    _bug(
        "going forward acts before it is committed", ENGINE,
        "self.saving.save(active, decision, then=lambda: self._act(active, decision))",
        "self._act(active, decision)\n        self.saving.save(active, decision, then=lambda: None)",
    ),
    _bug(
        "an addition that is not seen yet is taken back", f"{STEPS}/soak.py",
        "timedelta() <= scene.now - step.sized_at < UNSEEN", "not timedelta() <= scene.now - step.sized_at", like="addition unseen",
    ),
    _bug(
        "stepping back waits for its commit", ENGINE,
        "self.workers.spawn(Pool.BACK.of(active.execution.target.cluster), lambda: self._step_back(active, decision))",
        "active.backing = False\n            self.saving.save(active, decision, then=lambda: self._step_back(active, decision))",
    ),
    _bug(
        "the tombstone is not looked at", STOPS,
        "if canary.annotations.get(ANNOTATION_STOPPED) != scene.execution.id:", "if canary is not None:", like="dies stepping back"),
    _bug(
        "time is credited while blind", f"{STEPS}/soak.py",
        "if not (complete and well and credit_is_due(waits)):", "if not complete:", like="source away"),
    _bug(
        "a reading that is missing counts as healthy", EVIDENCE,
        "            return _without(signal, state, why, window.end, now)\n        case Counts(by_pod):",
        "            state = replace(state, verdict=Verdict.HEALTHY, used_until=window.end)\n"
        "            return _seen(state, window.end)\n        case Counts(by_pod):", like="source away"),
    _bug("a canary that somebody stopped is raised again", STOPS,
         "    if canary.replicas == 0:\n", "    if canary.replicas < 0:\n", like="canary to 0"),
    _bug(
        "stepping back restores over a hotfix", ACTIONS,
        "ours = image == snapshot.new_image != snapshot.old_image", "ours = image != snapshot.old_image",
        Replaced(ACTIONS, "        tests.append(FieldTest(FieldName.IMAGE, snapshot.new_image))\n", "        pass\n"),
        Replaced(f"{STEPS}/retreat.py", '{"stable-image-changed", "stable-deleted"', '{"stable-deleted"'), like="hotfix"),
    _bug(
        "the share counts pods that are not ready", "rollout/core/shares.py",
        "    pods = min(view.stable.replicas, ready)\n", "    pods = view.stable.replicas + 0 * ready\n", like="stable unready"),
    _bug(
        "a notice is marked as sent before it is", OUTBOX,
        "            notifier.send(item.message)\n",
        "            self._store.delivered(item.id, self._clock.now())\n            notifier.send(item.message)\n",
    ),
    _bug(
        "the lease is not checked", ENGINE,
        "if not self.lease.certain() and not stepped_back:", "if False and stepped_back:",
        Replaced(ENGINE, "if not stepping_back and self.lease.certain():", "if not stepping_back:"),
        Replaced(MEMORY, "for transition in transitions if self._alive(daemon) else ():", "for transition in transitions:"), like="daemon stalled"),
    _bug(
        "a used window is used again", EVIDENCE,
        "if state.used_until is not None and window.start < state.used_until:", "if False and state.used_until is not None:",
        test="tests/core/test_evidence.py",
    ),
    _bug("replicas are added without the interval", f"{STEPS}/soak.py",
         "due = step.credited_at_size >= spec.replicas.every and scene.now - step.grown_at >= spec.replicas.every",
         "due = step.credited_at_size >= spec.replicas.every / 2"),
    _bug("a forward write does not say which version it saw", ACTIONS,
         "        replicas=replicas,\n        annotations=((ANNOTATION_ID, execution.id),),\n        if_version=canary.resource_version,",
         "        replicas=replicas,\n        annotations=((ANNOTATION_ID, execution.id),),\n        if_version=None,",
         Replaced(ACTIONS, "(ANNOTATION_STOPPED_WHY, None),\n        ),\n        if_version=canary.resource_version,",
                  "(ANNOTATION_STOPPED_WHY, None),\n        ),\n        if_version=None,")),
    _bug("the certificate is not asked for", f"{STEPS}/certify.py",
         "if missing and (state.approval is None", "if missing and not scene.execution.signals and (state.approval is None", like="little traffic"),
    _bug("nobody's approval is awaited", f"{STEPS}/certify.py",
         "if plan.spec.approvals.before_promotion and state.approval is None:", "if plan.spec.approvals.before_promotion and False:", like="approve"),
    _bug("a kill for memory is no reason to step back", GUARDS,
         'if state.terminated == "OOMKilled":\n        return Trip', 'if state.terminated == "OOM":\n        return Trip', like="out of memory"),
    _bug("lost readiness is waited for", GUARDS, "READINESS_GRACE = timedelta(minutes=2)", "READINESS_GRACE = timedelta(hours=2)", like="readiness lost"),
    _bug("nobody steps back while it is paused", "rollout/core/canary.py",
         "stop or canary_stops.reason_to_stop(scene, state, found)",
         "stop or (None if state.paused else canary_stops.reason_to_stop(scene, state, found))", like="pause"),
    _bug("an addition is performed late without asking for the share again", f"{STEPS}/soak.py",
         "if canary.replicas < step.size and (refused := _no_room_any_more(scene, step)) is not None:",
         "if (refused := _no_room_any_more(scene, step)) is not None and False:", like="shrinks while growing"),
    _bug("a 0 that came before our look is overwritten", STOPS,
         "if not _canary_confirmed(state) and not (isinstance(state.step, Starting) and owner == scene.execution.id):",
         "if not _canary_confirmed(state):", like="stopped unseen"),
    _bug("the words beside the tombstone are not read", STOPS,
         'return read(canary.annotations.get(ANNOTATION_STOPPED_WHY, "")) or _foreign(', "return _foreign(", like="dies stepping back"),
    _bug("a decision that may not be taken is taken again at once", ENGINE,
         "max(decision.wake_at or soonest, soonest))", "decision.wake_at or soonest)", like="store away"),
    _bug("an addition that is performed late is taken for one that failed", f"{STEPS}/soak.py",
         "state = replace(state, step=replace(step, sized_at=scene.now))", "pass", like="healthy"),
    _bug("a hold of ours stays on the stable", f"{STEPS}/promote.py",
         "    if _held_by_us(step, stable):  #", "    if False:  #", test="tests/core/test_steps.py"),
    _bug("nobody looks when lost readiness runs out of grace", "rollout/core/canary.py",
         "    left = guards.grace_left(move.state.guards, scene.now)\n", "    left = None\n", like="readiness lost"),
    _bug("the pace of the promotion stays on the stable", f"{STEPS}/watch.py",
         "if patch is not None and not waits:", "if patch is not None and False:",
         Replaced(f"{STEPS}/retire.py", "    if pace is not None:\n", "    if pace is not None and False:\n")),
    _bug("the canary stays up after success", f"{STEPS}/retire.py",
         "if view.canary is not None and view.canary.replicas > 0:", "if False:",
         Replaced(f"{STEPS}/retire.py", "    if left:\n", "    if left and False:\n")),
    _bug("a freeze window holds nobody", "rollout/core/canary_holds.py",
         "if freeze is not None and not isinstance(state.step, Retiring):", "if False and freeze is not None:", like="frozen"),
    _bug("notices owed by a step back are forgotten", SAVING,
         "        active.owed_notices += decision.notices\n", "        active.owed_notices += ()\n"),
    _bug("a rollout of an older version of itself is overwritten", MEMORY,
         "ours and row.version == transition.seen_version", "ours", like="daemon stalled"),
    _bug("time in which nobody looked is credited", "rollout/core/machine.py",
         "near = elapsed <= question.timing.longest_gap and not seen.taken_over", "near = True", like="daemon killed"),
    _bug("figures that cannot be are believed", EVIDENCE,
         "if wrong := _impossible(answer.reading):", "if False and (wrong := _impossible(answer.reading)):", test="tests/core/test_evidence.py"),
    _bug("the share of the pods is taken for the share of the requests", COUNTS,
         "share = window.candidate_requests / (window.candidate_requests + window.baseline_requests)", "share = 1 / 11",
         test="tests/core/test_judge_healthy_days.py"),
    _bug("restarts go on beyond the plan", "rollout/core/judge_mixture.py",
         "if mixture.t < planned:", "if True:", test="tests/core/test_judge_counts.py"),
    _bug("errors that come in clumps count one by one", BURSTS,
         "    phi = clumping.phi\n    candidate,", "    phi = 1.0\n    candidate,", test="tests/core/test_judge_healthy_days.py"),
    _bug("how errors clump is learned from the window that is judged", COUNTS,
         "judge_bursts.weigh(parameters.cap, state.clumping,",
         "judge_bursts.weigh(parameters.cap, judge_bursts.watch(state.clumping, baseline, window.baseline_requests),",
         test="tests/core/test_judge_counts.py"),
    _bug("an incident of everybody is forgotten after a minute", COUNTS,
         "clump = 1.0 if before.incident else before.clumping.phi", "clump = before.clumping.phi", test="tests/core/test_judge_verdict.py"),
    _bug("what a restarted gateway lost is counted as a gain", "rollout/adapters/prometheus_counts.py",
         "            first = 0.0\n", "            first = -first\n", test="tests/adapters/test_prometheus.py"),
    _bug("series that a gateway dropped are counted again", "rollout/adapters/prometheus_counts.py",
         "if first is not None and FALLEN * first < last < first:", "if False:", test="tests/adapters/test_prometheus.py"),
    _bug("a service's alarm excuses its canary's", "rollout/adapters/skywalking_readings.py",
         """return f"{scope} alarm {shorten(message, 80)!r}\"""", 'return "skywalking"', test="tests/adapters/test_skywalking_readings.py"),
    _bug("no calls are a success rate of nothing", "rollout/adapters/skywalking_readings.py",
         "        if not called:\n            continue\n", "        called = called or 1.0\n", test="tests/adapters/test_skywalking_readings.py"),
    _bug("a count from some of the shards is believed", "rollout/adapters/elasticsearch_search.py",
         "    if failed:\n", "    if failed and False:\n", test="tests/adapters/test_elasticsearch.py"),
    _bug("time that nobody watched runs a grace out", "rollout/core/watched.py",
         "    return now - looked_at - min(gap, timing.look_every + LATENESS)\n", "    return timedelta()\n",
         test="tests/core/test_watched_time.py"),
    _bug("a backend is blamed for the hours in which we did not look", "rollout/core/watched.py",
         "        replace(signal, blind_since=watched_since)\n", "        signal\n", test="tests/core/test_watched_time.py"),
    _bug("an heir ends a way back before a late write can be seen", "rollout/core/steps/offline_open.py",
         "is None or READ not in stems:", "is None:", test="tests/core/test_offline_asking.py"),
    _bug("of two wishes the last wins", "rollout/core/commands.py",
         "        if command.verb in DECISIVE:\n", "        if command.verb in DECISIVE and False:\n", test="tests/core/test_offline_wishes.py"),
    _bug("a database that is away runs the promotion's deadline out", "rollout/core/watched.py",
         "    unsaved = scene.seen.unsaved_since is not None\n", "    unsaved = False\n",
         test="tests/core/test_watched_time.py"),
    _bug("a hold of ours that is seen late is taken for somebody else's", "rollout/core/cohorts.py",
         'return self.paused and self.writers.get("paused") == OURS', "return False", like="hold unseen"),
    _bug("a picture that is older than the state is believed", "rollout/core/machine.py",
         "    seen = pictures.believed(", "    pictures.believed(", like="old picture"),
    _bug("a step back is over when no pod was ever seen", f"{STEPS}/retreat.py",
         "if serving else _counted(scene, view)", 'if serving else ""', like="aborted unseen"),
    _bug("no deadline ever comes", "rollout/core/watched.py",
         "deadline=state.deadline + (passed if stands else by))", "deadline=state.deadline + passed)", like="never ready"),
    _bug("the time of a daemon that died is the version's delay", "rollout/core/machine.py",
         "question.timing.longest_gap and not seen.taken_over", "question.timing.longest_gap", like="healthy"),
    _bug("nobody is told what it waits for", "rollout/core/holds.py",
         "if scene.now - hold.since >= rule.after and _owed(", "if scene.now - hold.since >= REMIND and _owed(", like="pause"),
    _bug("who takes over does not know that a pod was ready", GUARDS,
         "(before.ready_since is not None or pod.lost_readiness)", "before.ready_since is not None", like="readiness lost"),
    _bug("who waits for a time waits an hour longer when the clock is set back", "rollout/engine/wakes.py",
         "if self._seen is not None and now < self._seen:", "if False:", like="clock back"),
)  # fmt: skip

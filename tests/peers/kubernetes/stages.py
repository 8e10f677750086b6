"""How the pretended kubelets behave: KWOK stages for nodes and for pods that run well or badly.

A pod behaves as its annotation `rollout.test/behaviour` says, or else as the end of its first container's image tag
says (`registry.example/shop:2.0-crash-loop`), or else well. The annotation may be changed while the pod runs, which
is how a test makes trouble in a healthy pod and mends it again. Status shapes and reasons are those that a kubelet
writes.

| behaviour | what is seen |
|---|---|
| `well` | Running, ready after 0.3 s |
| `slow` | Running at once, ready after 8 s |
| `crash-loop` | never ready; exits with 1 at once, restarted once, then CrashLoopBackOff, tried again every 10 s |
| `oom` | the same, but OOMKilled with 137 |
| `no-pull` | Pending: ErrImagePull, then ImagePullBackOff |
| `loses-readiness` | ready, then not any more after 3 s; the container goes on running |
| `evicted` | ready, then phase Failed, reason Evicted, after 3 s |
| `stuck` | well, but when deleted it stays Terminating until it is deleted by force |
| `fails` | for pods of a Job: Failed with exit code 1 (others: Succeeded after 0.5 s) |

`rollout.test/after` (such as `20s`) replaces the pause of `slow`, `loses-readiness`, `evicted`, of a Job's end, and
of the first crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

BEHAVIOUR: Final = "rollout.test/behaviour"
AFTER: Final = "rollout.test/after"
BEHAVIOURS: Final = (
    "well", "slow", "crash-loop", "oom", "no-pull", "loses-readiness", "evicted", "stuck", "fails",
)  # fmt: skip

Json = dict[str, Any]

_IMAGE_TAG = f'capture("[:-](?<b>{"|".join(BEHAVIOURS)})(@.*)?$")'
_BEHAVES = f'.metadata.annotations["{BEHAVIOUR}"] // ([.spec.containers[0].image | {_IMAGE_TAG} | .b] | .[0]) // "well"'
_READY = '.status.conditions // [] | map(select(.type == "Ready")) | .[0].status'
_STATE = ".status.containerStatuses[0].state"
_FACTS: Final = {
    "behaves": _BEHAVES,
    "ready": _READY,
    "phase": ".status.phase",
    "job": '.metadata.ownerReferences // [] | map(select(.kind == "Job")) | length',
    "restarts": ".status.containerStatuses[0].restartCount // 0 | tostring",
    "state": f"{_STATE} // {{}} | keys | .[0]",
    "waiting": f'{_STATE}.waiting.reason // "none"',
}

# The templates are Go's. `$was` is the container's status before; `$since` keeps the time of a condition that does not change.
_STATUS = """
{{ $now := Now }}
{{ $root := . }}
{{ $annotations := or .metadata.annotations dict }}
{{ $asked := or (index $annotations "rollout.test/behaviour") "" }}
{{ $oom := or (eq "oom" $asked) (hasSuffix "oom" (regexReplaceAll "@.*$" (index .spec.containers 0).image "")) }}
{{ $since := dict }}
{{ range .status.conditions }}
{{ $_ := set $since (printf "%%s=%%s" .type .status) .lastTransitionTime }}
{{ end }}
conditions:
%(conditions)s
containerStatuses:
{{ range $index, $item := .spec.containers }}
{{ $was := dict "restartCount" 0 "state" dict }}
{{ if $root.status.containerStatuses }}{{ $was = index $root.status.containerStatuses $index }}{{ end }}
{{ $began := $now }}
{{ if $was.state.running }}{{ $began = $was.state.running.startedAt }}{{ end }}
{{ $name := regexReplaceAll ":[^/:]*$" (regexReplaceAll "@.*$" $item.image "") "" }}
{{ $digest := printf "sha256:%%s" (sha256sum $item.image) }}
{{ if contains "@" $item.image }}{{ $digest = regexReplaceAll "^.*@" $item.image "" }}{{ end }}
- name: {{ $item.name | Quote }}
  image: {{ $item.image | Quote }}
%(container)s
{{ end }}
hostIP: 172.20.0.{{ add 10 (int (trimPrefix "node-" .spec.nodeName)) }}
podIP: {{ or .status.podIP (PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace) | Quote }}
startTime: {{ or .status.startTime .metadata.creationTimestamp | Quote }}
phase: %(phase)s
%(more)s
"""
_CONDITION = (
    '- {type: %s, status: "%s", reason: "%s", message: "%s", lastTransitionTime: {{ or (index $since "%s=%s") $now | Quote }}}'
)
_PULLED = """  imageID: {{ printf "%s@%s" $name $digest | Quote }}
  containerID: {{ printf "containerd://%s" (sha256sum (printf "%s/%s" $root.metadata.uid $item.name)) | Quote }}
"""
_STARTS = _PULLED + "  state: {running: {startedAt: {{ $now | Quote }}}}\n"
_RUNS_ON = _PULLED + "  state: {running: {startedAt: {{ $began | Quote }}}}\n"
_ENDED = "{reason: %s, exitCode: %d, startedAt: {{ $began | Quote }}, finishedAt: {{ $now | Quote }}}"
_EXITED = f"{{{{ if $oom }}}}{_ENDED % ('OOMKilled', 137)}{{{{ else }}}}{_ENDED % ('Error', 1)}{{{{ end }}}}"
_SAME_COUNT = "  restartCount: {{ int (or $was.restartCount 0) }}\n"
_ONE_MORE = "  restartCount: {{ add1 (int (or $was.restartCount 0)) }}\n"
_SAME_LAST = "{{ if $was.lastState }}  lastState: {{ $was.lastState | toJson }}\n{{ end }}"
_BECOMES_LAST = "  lastState: {{ $was.state | toJson }}\n"
_BACKS_OFF = (
    "  state: {waiting: {reason: CrashLoopBackOff, message: {{ printf "
    '"back-off 10s restarting failed container=%s pod=%s_%s" $item.name $root.metadata.name $root.metadata.namespace'
    " | Quote }}}}\n"
)


def _status(container: str, *, ready: bool, phase: str = "Running", more: str = "") -> str:
    word, reason = ("True", "") if ready else ("False", "ContainersNotReady")
    message = "" if ready else "containers with unready status"
    wanted = (
        ("Initialized", "True", "", ""),
        ("ContainersReady", word, reason, message),
        ("Ready", word, reason, message),
    )
    return _STATUS % {
        "conditions": "\n".join(_CONDITION % (*condition, *condition[:2]) for condition in wanted),
        "container": container + f"  ready: {word.lower()}\n  started: {word.lower()}\n",
        "phase": phase,
        "more": more,
    }


def _when(facts: Mapping[str, str]) -> list[Json]:
    """The selector: the pod is not being deleted, and each fact is one of the words (`"a, b"`), or none of them (`"not a, b"`)."""
    chosen: list[Json] = [{"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}]
    for fact, words in facts.items():
        operator = "NotIn" if words.startswith("not ") else "In"
        values = [word.strip() for word in words.removeprefix("not ").split(",")]
        chosen.append({"key": _FACTS[fact], "operator": operator, "values": values})
    return chosen


def _stage(name: str, pause: int, status: str, **facts: str) -> Json:
    """One stage of a pod's life: where the facts are so, after a pause (ms), the pod gets this status."""
    rest = {"delay": {"durationMilliseconds": pause}, "next": {"statusTemplate": status}}
    return _document(name, "Pod", _when(facts), rest)


def _tunable(name: str, pause: int, status: str, **facts: str) -> Json:
    """The same, with a pause that the pod's annotation may replace."""
    stage = _stage(name, pause, status, **facts)
    stage["spec"]["delay"]["durationFrom"] = {"expressionFrom": f'.metadata.annotations["{AFTER}"]'}
    return stage


def _document(name: str, kind: str, when: list[Json], rest: Json) -> Json:
    reference = {"apiGroup": "v1", "kind": kind}
    spec = {"resourceRef": reference, "selector": {"matchExpressions": when}, **rest}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _healthy() -> list[Json]:
    up = _status(_STARTS + _SAME_COUNT, ready=True)
    up_again = _status(_STARTS + _ONE_MORE + _SAME_LAST, ready=True)
    ready = _status(_RUNS_ON + _SAME_COUNT + _SAME_LAST, ready=True)
    well = {"behaves": "well, stuck", "job": "0"}
    serves = "well, stuck, loses-readiness, evicted"
    return [
        _stage("starts", 300, up, phase="Pending", behaves=serves, job="0"),
        _stage("recovers", 300, ready, phase="Running", ready="False", state="running", **well),
        _stage("recovers-by-a-restart", 300, up_again, phase="Running", state="waiting, terminated", **well),
    ]


def _troubled() -> list[Json]:
    waits = _status(_STARTS + _SAME_COUNT, ready=False)
    ready = _status(_RUNS_ON + _SAME_COUNT + _SAME_LAST, ready=True)
    lost = _status(_RUNS_ON + _SAME_COUNT + _SAME_LAST, ready=False)
    killed = _PULLED + f"  state: {{terminated: {_ENDED % ('Error', 137)}}}\n" + _SAME_COUNT
    reason = 'reason: Evicted\nmessage: "The node was low on resource: memory."\n'
    evicted = _status(killed, ready=False, phase="Failed", more=reason)
    losing = {"behaves": "loses-readiness", "ready": "True"}
    return [
        _stage("starts-slowly", 300, waits, phase="Pending", behaves="slow", job="0"),
        _tunable("is-ready-at-last", 8000, ready, phase="Running", ready="False", behaves="slow", job="0"),
        _tunable("loses-readiness", 3000, lost, phase="Running", **losing),
        _tunable("is-evicted", 3000, evicted, phase="Running", behaves="evicted"),
    ]


def _crashing() -> list[Json]:
    up = _status(_STARTS + _SAME_COUNT, ready=False)
    exits = _status(_PULLED + f"  state: {{terminated: {_EXITED}}}\n" + _SAME_COUNT + _SAME_LAST, ready=False)
    restarts = _status(_STARTS + _ONE_MORE + _BECOMES_LAST, ready=False)
    waits = _status(_PULLED + _BACKS_OFF + _SAME_COUNT + _BECOMES_LAST, ready=False)
    tried = _status(_STARTS + _ONE_MORE + _SAME_LAST, ready=False)
    pending = {"phase": "Pending", "behaves": "crash-loop, oom", "job": "0"}
    running = {**pending, "phase": "Running"}
    return [
        _stage("crash-starts", 300, up, **pending),
        _tunable("crash-exits", 300, exits, state="running", restarts="0", **running),
        _stage("crash-exits-again", 300, exits, state="running", restarts="not 0", **running),
        _stage("crash-restarts", 100, restarts, state="terminated", restarts="0", **running),
        _stage("crash-backs-off", 100, waits, state="terminated", restarts="not 0", **running),
        _stage("crash-is-tried-again", 10000, tried, state="waiting", **running),
    ]


def _not_pulled() -> list[Json]:
    waits = '  imageID: ""\n  restartCount: 0\n  state: {waiting: {reason: %s, message: {{ printf "%s" $item.image | Quote }}}}\n'
    refused = "rpc error: code = NotFound desc = failed to pull and unpack image %s: not found"
    first = _status(waits % ("ErrImagePull", refused), ready=False, phase="Pending")
    later = _status(waits % ("ImagePullBackOff", "Back-off pulling image %s"), ready=False, phase="Pending")
    broken = {"phase": "Pending", "behaves": "no-pull"}
    return [
        _stage("is-not-pulled", 300, first, state="not waiting", **broken),
        _stage("pull-backs-off", 500, later, waiting="ErrImagePull", **broken),
    ]


def _jobs() -> list[Json]:
    up = _status(_STARTS + _SAME_COUNT, ready=True)
    completed = f"{_PULLED}  state: {{terminated: {_ENDED % ('Completed', 0)}}}\n{_SAME_COUNT}"
    broken = f"{_PULLED}  state: {{terminated: {_ENDED % ('Error', 1)}}}\n{_SAME_COUNT}"
    done = _status(completed, ready=False, phase="Succeeded")
    failed = _status(broken, ready=False, phase="Failed")
    return [
        _stage("job-starts", 200, up, phase="Pending", behaves="not no-pull", job="not 0"),
        _tunable("job-succeeds", 500, done, phase="Running", behaves="not fails, evicted", job="not 0"),
        _tunable("job-fails", 500, failed, phase="Running", behaves="fails", job="not 0"),
    ]


def _deleted() -> Json:
    going = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    not_stuck = {"key": _BEHAVES, "operator": "NotIn", "values": ["stuck"]}
    rest = {"delay": {"durationMilliseconds": 100}, "next": {"delete": True}}
    return _document("is-deleted", "Pod", [going, not_stuck], rest)


_NODE_STATUS = """
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: 172.20.0.{{ add 10 (int (trimPrefix "node-" .metadata.name)) }}}
- {type: ExternalIP, address: 127.0.0.1}
- {type: Hostname, address: {{ .metadata.name | Quote }}}
daemonEndpoints: {kubeletEndpoint: {Port: {{ NodePort }}}}
allocatable: {cpu: "64", memory: 256Gi, pods: "500"}
capacity: {cpu: "64", memory: 256Gi, pods: "500"}
nodeInfo: {architecture: amd64, operatingSystem: linux, kubeletVersion: kwok, containerRuntimeVersion: kwok,
  kubeProxyVersion: "", kernelVersion: "", osImage: "", machineID: "", systemUUID: "", bootID: ""}
phase: Running
"""


def stages() -> str:
    """All stages as one YAML stream for `kwok --config`."""
    not_ready = [{"key": _READY, "operator": "NotIn", "values": ["True"]}]
    node = _document("node-is-ready", "Node", not_ready, {"next": {"statusTemplate": _NODE_STATUS}})
    pods = [*_healthy(), *_troubled(), *_crashing(), *_not_pulled(), *_jobs(), _deleted()]
    return yaml.safe_dump_all([node, *pods], width=1000)

"""The Cluster port played straight on the sandbox's world: no HTTP, no thread, virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rollout.adapters import kubernetes_patch as patches
from rollout.adapters import kubernetes_slim as slim
from rollout.adapters.kubernetes_memory import KINDS, NamespaceMemory
from rollout.core.cohorts import TargetView
from rollout.core.effects import PatchDeployment, PostEvent
from rollout.core.signals import Unreachable
from rollout.core.state import State
from rollout.core.target import Target
from rollout.ports import Check, Conflict, Rejected, Store
from rollout.sandbox.kube_objects import ApiError
from rollout.sandbox.storage import Change
from rollout.sandbox.world import World
from rollout.store.reading import StoredCodec

START = datetime.fromisoformat("2026-11-22T08:00:00+00:00")


class WorldClock:
    """The world's time is the daemon's time. `skew` moves the wall clock alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew = timedelta()

    def now(self) -> datetime:
        return self._world.now + self.skew

    def monotonic(self) -> float:
        return (self._world.now - START).total_seconds()


class RememberingCodec(StoredCodec):
    """Shows referees what it has just written without reading it again; daemons really read what others wrote."""

    LAST = 4

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._written: dict[str, State] = {}

    def text(self, state: State) -> str:
        text = super().text(state)
        self._written[text] = state
        if len(self._written) > self.LAST:
            del self._written[next(iter(self._written))]
        return text

    def seen(self, text: str, row: str) -> State:
        known = self._written.get(text)
        return known if known is not None else self.state(text, row)


class WorldCluster:
    """Sees the world through the same slim objects and memory as the real adapter."""

    def __init__(self, world: World, name: str = "default") -> None:
        self.world = world
        self._name = name
        self._memory: dict[str, NamespaceMemory] = {}
        self._listeners: list[Callable[[str, str], None]] = []
        self.unseen = ""
        self.behind = False
        """The watches bring nothing: what happens is seen later, all at once."""
        self.late: set[str] = set()
        """The kinds whose watch alone brings nothing, while the others are current."""
        self._unread: list[Change] = []
        self._views: dict[Target, TargetView] = {}
        world.observers.append(self._observe)

    @property
    def name(self) -> str:
        return self._name

    def follow(self, namespace: str) -> None:
        if namespace not in self._memory:
            memory = self._memory[namespace] = NamespaceMemory()
            for kind in KINDS:
                memory.replace(kind, self.world.objects(kind, namespace))

    def subscribe(self, changed: Callable[[str, str], None]) -> None:
        self._listeners.append(changed)

    def loses(self, kind: str) -> Callable[[], None]:
        """Let the watch of one kind bring nothing, until what is returned is called."""
        self.late.add(kind)
        return self.catch_up

    def catch_up(self) -> None:
        """The watches bring everything that was missed."""
        self.behind = False
        self.late.clear()
        unread, self._unread = self._unread, []
        for change in unread:
            self._observe(change)

    def _observe(self, change: Change) -> None:
        if change.resource in KINDS and change.namespace in self._memory:
            if self.behind or change.resource in self.late:
                self._unread.append(change)
                return
            document = change.new
            self._views.clear()
            touched = self._memory[change.namespace].change(change.resource, change.type.value, document)
            for listener in self._listeners:
                for deployment in sorted(touched):
                    listener(change.namespace, deployment)

    def view(self, target: Target) -> TargetView | Unreachable:
        if self.unseen:
            return Unreachable(self.unseen)
        self.follow(target.namespace)
        known = self._views.get(target)
        if known is None:
            known = self._views[target] = self._memory[target.namespace].view(target, self.world.now)
        return known

    def look(self, target: Target, *, timeout: timedelta) -> TargetView:
        """Past the watches: the world as it is now."""
        memory = NamespaceMemory()
        for kind in KINDS:
            memory.replace(kind, self.world.objects(kind, target.namespace))
        return memory.view(target, self.world.now)

    def apply(self, patch: PatchDeployment, *, timeout: timedelta) -> None:
        self.request(patch)()

    def request(self, patch: PatchDeployment) -> Callable[[], None]:
        """Word the request now; calling the result lets it arrive, with the preconditions that it was sent with."""
        document = self.world.find("deployments", patch.namespace, patch.name)
        if document is None:
            raise Rejected(self._name, f"no Deployment {patch.namespace}/{patch.name}", code=404)
        if patch.if_fields:
            shape = patches.layout(slim.deployment(document), patch.container)
            body: object = patches.json_patch(patch, shape)
            content_type = patches.JSON_PATCH
        else:
            body, content_type = patches.merge_patch(patch), patches.STRATEGIC

        def arrive() -> None:
            try:
                self.world.patch("deployments", patch.namespace, patch.name, body, content_type=content_type, manager="rollout")
            except ApiError as error:
                raise Conflict(self._name, str(error), code=409) from None

        return arrive

    def post_event(self, event: PostEvent, *, timeout: timedelta) -> None:
        return

    def preflight(self, target: Target, image: str) -> Sequence[Check]:
        return ()

    def close(self) -> None:
        """The process that watched is gone."""
        if self._observe in self.world.observers:
            self.world.observers.remove(self._observe)

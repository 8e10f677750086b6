"""One maintenance story from its seed, as the canary's are played: what became of it, and everything that happened in order."""

from __future__ import annotations

from tests.simulation.offline_invariants import Broken
from tests.simulation.offline_story import Story
from tests.simulation.offline_tale import tale
from tests.simulation.simulation import Result


def simulate_offline(seed: int) -> Result:
    """Play one seed; the story is what people, the world and the weather did, between what the rollout wrote of itself."""
    story = Story(tale(seed))
    try:
        outcome = story.run().value
    except Broken as broken:
        return Result(seed, "broken", str(broken), broken.rule.name, told(story))
    return Result(seed, outcome, story=told(story))


def told(story: Story) -> list[str]:
    """Put history's rows between the story's own lines, by their time."""
    lines = [(line[:11], line) for line in story.told]
    for row in story.inner.history(story.rollout):
        at = f"{row.event.at:%d %H:%M:%S}"
        lines.append((at, f"{at}     {row.event.kind}: {row.event.why}"))
    return [line for _, line in sorted(lines, key=lambda item: item[0])]

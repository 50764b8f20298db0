"""How long it takes until both layers have passed what was sent after a fault."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.attendant import Attendant
from chaos.schedule import Planned
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from embedded_lake import EmbeddedLake

from lakehouse.kafka import (
    CUSTOMERS_TOPIC,
    FILLS_TOPIC,
    QUOTES_TOPIC,
    TRADES_TOPIC,
    client_settings,
)
from lakehouse.progress import read_progress
from schemas import landed_topics

TOPICS = {
    "land": (TRADES_TOPIC, QUOTES_TOPIC, FILLS_TOPIC, CUSTOMERS_TOPIC),
    "speed": (TRADES_TOPIC, QUOTES_TOPIC, FILLS_TOPIC),
}
PARTITIONS = 4
REQUEST_SECONDS = 30.0
# While a Spark driver starts, another one and a broker may be starting beside it.
DEADLINE_SECONDS = 300.0
LOOK_SECONDS = 0.5

Offsets = Mapping[str, Mapping[int, int]]


def log_ends(lake: EmbeddedLake) -> Offsets:
    """Return by topic and partition the offset that the next message will get."""
    admin = AdminClient({**client_settings(lake.settings), "log_level": 0})
    wanted = {
        TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for topic in TOPICS["land"]
        for partition in range(PARTITIONS)
    }
    ends: dict[str, dict[int, int]] = {topic: {} for topic in TOPICS["land"]}
    for place, answer in admin.list_offsets(wanted, request_timeout=REQUEST_SECONDS).items():
        ends[place.topic][place.partition] = answer.result().offset
    return ends


def landed(lake: EmbeddedLake, topic: str) -> Mapping[int, int]:
    """Return how far bronze has a topic."""
    progress = read_progress(lake.catalog.load_table(landed_topics()[topic]))
    return {} if progress is None else progress.offsets


def streamed(lake: EmbeddedLake, topic: str) -> Mapping[int, int]:
    """Return how far the speed layer's tables have a topic.

    Spark's checkpoint says so: a file for each micro-batch that is committed, and one with the
    offsets at which it ends.
    """
    checkpoint = lake.settings.checkpoints / "speed" / f"{topic}.g0"
    committed = _newest(checkpoint / "commits")
    if committed is None:
        return {}
    *_, offsets = (checkpoint / "offsets" / str(committed)).read_text().splitlines()
    return {int(partition): offset for partition, offset in json.loads(offsets)[topic].items()}


def _newest(folder: Path) -> int | None:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=None)


HOW_FAR = {"land": landed, "speed": streamed}


@dataclass
class Recovery:
    """Of one fault.

    Attributes:
        fault: The fault.
        ends: Where the log ended when it was over, behind a message that was sent after it.
        began_at: When it was over, on the monotonic clock.
        seconds: By layer, how long it took to pass that; and of a job that was hit, how long
            the next of its kind took.
    """

    fault: Planned
    ends: Offsets
    began_at: float
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """The layers that have not passed."""
        return [layer for layer in TOPICS if layer not in self.seconds]

    @property
    def missing_job(self) -> str | None:
        """The job that was hit, while none of its kind has ended well since."""
        job = self.fault.job
        return None if job in self.seconds else job

    def behind(self, topic: str, reached: Mapping[int, int]) -> bool:
        """Whether a layer that has come so far in a topic has yet to pass the log's end."""
        return any(reached.get(place, 0) < end for place, end in self.ends[topic].items())


@dataclass
class Recoveries:
    """Of all faults so far; looked at twice a second."""

    attendant: Attendant
    all: list[Recovery] = field(default_factory=list)
    _looked_at: float = 0.0
    # By layer and topic: how far it was when it was last seen to move, and when that was.
    _moved: dict[tuple[str, str], tuple[Mapping[int, int], float]] = field(default_factory=dict)

    def begin(self, fault: Planned, over_at: float) -> None:
        """Watch for the recovery from a fault that was over at a time of the monotonic clock."""
        self.all.append(Recovery(fault, log_ends(self.attendant.lake), over_at))

    def step(self) -> None:
        """Look at what is still missing; a layer that stands still for too long is an error."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        for layer in TOPICS:
            if not self.have([layer]):
                self._look(layer)
        for recovery in self.all:
            job = recovery.missing_job
            if job and (took := self.attendant.next_run(job, recovery.began_at)) is not None:
                recovery.seconds[job] = took
        self._looked_at = time.monotonic()

    def _look(self, layer: str) -> None:
        lake = self.attendant.lake
        reached = {topic: HOW_FAR[layer](lake, topic) for topic in TOPICS[layer]}
        now = time.monotonic()
        for topic, offsets in reached.items():
            known = self._moved.get((layer, topic))
            if known is None or known[0] != offsets:
                self._moved[layer, topic] = offsets, now
        for recovery in self.all:
            if layer in recovery.seconds:
                continue
            behind = [topic for topic in reached if recovery.behind(topic, reached[topic])]
            if not behind:
                recovery.seconds[layer] = now - recovery.began_at
            for topic in behind:
                _, moved_at = self._moved[layer, topic]
                stands_still = now - max(moved_at, recovery.began_at) > DEADLINE_SECONDS
                assert not stands_still, (
                    f"{layer} stands still in {topic} since {recovery.fault}:\n{lake.tail(layer)}"
                )

    def have(self, layers: Iterable[str]) -> bool:
        """Whether these layers have recovered from everything."""
        return not any(layer in one.missing for one in self.all for layer in layers)

    @property
    def missing_jobs(self) -> set[str]:
        """The kinds of jobs of which none has ended well since one was hit."""
        return {one.missing_job for one in self.all if one.missing_job}

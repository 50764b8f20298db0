"""A live tier's rows as its store has them, told by a test and not by a broker."""

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Message

from lakehouse.settings import Settings
from serving.live.progress import Progress
from serving.live.relations import PROGRESS_KEY, RELATIONS, encode, key_of
from serving.live_rows.store import LiveStore


class ToldStore(LiveStore):
    """A store that takes in what it is told."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._next = 0
        for held in self._held.values():
            held.take(None)  # all that is told is news

    def tell(self, relation: str, rows: Iterable[dict[str, Any]]) -> None:
        known = RELATIONS[relation]
        self._take([self._message(known.topic, key_of(known, row), encode(row)) for row in rows])

    def tell_progress(
        self, positions: dict[int, int], *, age_seconds: float = 0.0, clock_ahead: float = 0.0
    ) -> None:
        """Tell how far the rows go.

        Args:
            positions: By partition.
            age_seconds: How old an event may be that is not told.
            clock_ahead: How many seconds the live tier's clock is ahead of this one.
        """
        said_at = time.time() + clock_ahead
        said = Progress(said_at, said_at - age_seconds, positions).encode()
        self._take([self._message(one.topic, PROGRESS_KEY, said) for one in RELATIONS.values()])

    def _message(self, topic: str, key: str, value: bytes) -> Message:
        self._next += 1
        return Message(topic=topic, partition=0, offset=self._next, key=key.encode(), value=value)

"""What the live tier asks of a stream: which events count, and what is made of them."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from serving.live.bars import Bar
from serving.live.positions import Client
from serving.live.relations import Relation, Values
from serving.live.rules import Rules
from serving.live.spreads import Spread


class Whole(Protocol):
    """Everything that is known of one stretch of time of one group, such as a bar's minute.

    It is told as a whole or not at all: whoever makes one gives it all of its events.
    """

    def take(self, event: Mapping[str, Any], position: int) -> None:
        """Take in an accepted event; again, it changes nothing."""

    def recall(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the silver table; again, it changes nothing."""

    def rows(self) -> Iterator[Values]:
        """Yield the rows that it makes, those that have changed since last asked."""


class Stream(Protocol):
    """One topic, and the relation that is made of it.

    Attributes:
        relation: What is told.
        topic: Its topic.
        dataset: What batch calls it.
        history: The silver table of it; its speed twin is read before it.
        recalled: The columns of it that a stretch of time is made of again.
        rules: Which events count.
        most_groups: How many groups are remembered: those of the latest events.
    """

    relation: Relation
    topic: str
    dataset: str
    history: str
    recalled: tuple[str, ...]
    rules: Rules
    most_groups: int

    def __call__(self, group: str, start: int, partition: int) -> Whole:
        """Begin with nothing of a stretch of time (microseconds) of a group."""

    def group_of(self, event: Mapping[str, Any]) -> str:
        """Return what is loaded and forgotten together."""

    def minute_of(self, event: Mapping[str, Any]) -> int:
        """Return the start of the stretch of time that an event is of."""


STREAMS: tuple[Stream, ...] = (Bar, Spread, Client)

"""What is held of one relation: the newest row of each key, and how far the live tier has read."""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import Message

from serving.live.progress import Progress
from serving.live.relations import PROGRESS_KEY, LiveRow, Relation, decode, instrument_of, window_of

# Of each relation: some hundred bytes each, whatever names come along the log.
MOST_ROWS = 100_000

_log = structlog.get_logger(__name__)


class Told(NamedTuple):
    """What a message tells: a row, progress, or nothing that can be read; and where it stands."""

    position: int
    what: LiveRow | Progress | None


def read(relation: Relation, message: Message) -> Told:
    """Return what a message of a relation's topic tells; never fails."""
    key, value, position = message.key(), message.value(), message.offset()
    if key is None or value is None or position is None:
        return Told(-1 if position is None else position, None)
    try:
        name = key if isinstance(key, str) else key.decode()
        if name == PROGRESS_KEY:
            return Told(position, Progress.decode(value))
        return Told(position, decode(relation, name, value, position))
    except ValueError as error:
        _log.warning("no row", topic=relation.topic, offset=position, error=str(error))
        return Told(position, None)


class Held:
    """The rows of one relation, those that changed last at the end.

    Args:
        relation: The relation.
        minutes: How many minutes of each instrument are kept.

    Attributes:
        rows: The newest of each key.
        position: The highest offset of a message that was taken.
        progress: How far the live tier had read when it last said so.
        heard_at: When that was heard, on the monotonic clock; None of what stood in the topic
            before it was followed: nobody knows when that was said.
        forgotten_through: The latest minute of which a row was forgotten, as its key has it.
    """

    def __init__(self, relation: Relation, minutes: int) -> None:
        self.relation = relation
        self.rows: OrderedDict[str, LiveRow] = OrderedDict()
        self.position = -1
        self.progress: Progress | None = None
        self.heard_at: float | None = None
        self.forgotten_through: str | None = None
        self._minutes = minutes
        self._poison: set[tuple[int, int]] = set()
        self._is_followed = False
        self._windows: dict[str, list[str]] = defaultdict(list)

    def take(self, told: Told | None) -> None:
        """Take in what was told, unless a newer row is here; None says that the end was met."""
        if told is None:
            self._is_followed = True
            return
        self.position = max(self.position, told.position)
        match told.what:
            case Progress():
                self.progress = told.what
                if self._is_followed:
                    self.heard_at = time.monotonic()
                self._heed_poison(told.what.poison)
            case LiveRow():
                self._take_row(told.what)

    def known(self, position: int | None) -> int:
        """Return a position that a reader has seen; -1 if it is none of this topic."""
        return -1 if position is None or position > self.position else position

    def since(self, position: int) -> list[LiveRow]:
        """Return the rows that have changed after a position, in the order in which they did."""
        found = []
        for row in reversed(self.rows.values()):
            if row.position <= position:
                break
            found.append(row)
        return found[::-1]

    def _take_row(self, row: LiveRow) -> None:
        known = self.rows.get(row.key)
        if self._is_void(row):
            return
        if known is not None and known.last_offset > row.last_offset:
            return
        self.rows[row.key] = row
        self.rows.move_to_end(row.key)
        if known is None:
            self._make_room(row.key)

    def _heed_poison(self, poison: Mapping[int, Sequence[int]]) -> None:
        named = {(partition, at) for partition, positions in poison.items() for at in positions}
        if named != self._poison:  # to look through all rows takes a while
            self._poison = named
            for name in [name for name, row in self.rows.items() if self._is_void(row)]:
                self._forget(name)

    def _is_void(self, row: LiveRow) -> bool:
        """Tell whether a row's last event was set aside: what is right is in the merged view."""
        return (row.log_partition, row.last_offset) in self._poison

    def _make_room(self, name: str) -> None:
        if self.relation.has_windows:
            windows = self._windows[instrument_of(name)]
            windows.append(name)
            if len(windows) > self._minutes:
                self._forget(min(windows))
        if len(self.rows) > MOST_ROWS:
            self._forget(next(iter(self.rows)))

    def _forget(self, name: str) -> None:
        del self.rows[name]
        if self.relation.has_windows:
            windows = self._windows[instrument_of(name)]
            windows.remove(name)
            if not windows:
                del self._windows[instrument_of(name)]
            self.forgotten_through = max(self.forgotten_through or "", window_of(name))

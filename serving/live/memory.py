"""What is remembered of a stream: the last minutes of each instrument, or the clients of late.

What is told is told whole. So of every stretch of time that an event is of, everything must be
known. Of a group that has just come up, and of a minute that was forgotten, earlier events are in
silver only: the event waits, with all that follow it, until they have been read.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from serving.live.digits import MINUTE_US
from serving.live.relations import Values
from serving.live.stream import Stream, Whole

# At 5,000 events a second a minute's trades are some 120 MB.
REMEMBERED_MINUTES = 3
# Minutes that late events have brought back, of all instruments together.
MOST_LATE = 200
# A group that comes up with an older event than this is not taken to be at its last minutes.
FRESH_US = 5 * MINUTE_US
# Events that wait take memory, too; beyond, the stretch that waits longest is left out.
MOST_WAITING = 50_000
# Rows that are not told while the log is being caught up with.
MOST_UNTOLD = 100_000

Event = Mapping[str, Any]


class Span(NamedTuple):
    """A stretch of time of a group that is read at once: microseconds, the end excluded."""

    group: str
    since: int
    until: int | None

    @classmethod
    def of_minute(cls, group: str, start: int) -> Self:
        """Return one minute of a group."""
        return cls(group, start, start + MINUTE_US)


@dataclass
class Waiting:
    """Events of a span that wait for what came before them.

    Attributes:
        partition: Of the log, that the span's events are in.
        needs: What is read must have seen everything up to this log position.
    """

    partition: int
    needs: int
    events: list[tuple[Event, int]] = field(default_factory=list)


@dataclass
class Group:
    """The stretches of one group, those of the latest events at the end.

    Of all that begin at ``since`` or later everything is known, but for the forgotten ones: a clock
    that is ahead may have put events where others are still to come.
    """

    since: int
    partition: int
    wholes: OrderedDict[int, Whole] = field(default_factory=OrderedDict)
    forgotten: set[int] = field(default_factory=set)

    def knows(self, start: int) -> bool:
        """Whether everything is known of the stretch that begins here."""
        return start >= self.since and start not in self.forgotten

    def forget(self) -> None:
        """Forget the stretch that has had no event for longest."""
        start = next(iter(self.wholes))
        if start == min(self.wholes):
            self.since = start + MINUTE_US
        self.forgotten = {one for one in (*self.forgotten, start) if one >= self.since}
        del self.wholes[start]


class Memory:
    """The stretches of time of one stream of which everything is known, and those that wait.

    Args:
        stream: The stream.
        read_from: By partition, the log position that the events given to `take` begin at.
        minutes: How many minutes of each group are remembered.
    """

    def __init__(
        self, stream: Stream, read_from: Mapping[int, int], minutes: int = REMEMBERED_MINUTES
    ) -> None:
        self.waiting: OrderedDict[Span, Waiting] = OrderedDict()
        self.left_out = 0
        self._stream, self._minutes = stream, minutes
        # Of what was forgotten, some may be of any position up to these.
        self._missed = {partition: first - 1 for partition, first in read_from.items()}
        self._reached = dict(self._missed)
        self._groups: OrderedDict[str, Group] = OrderedDict()
        self._openings: dict[str, Span] = {}
        self._late: OrderedDict[tuple[str, int], Whole] = OrderedDict()
        self._changed: dict[tuple[str, int], Whole] = {}
        self._untold: OrderedDict[tuple[str, int], dict[tuple[Any, ...], Values]] = OrderedDict()
        self._waiting_events = 0

    def take(self, event: Event, partition: int, position: int, appended_us: int) -> None:
        """Take in an accepted event, in the order of its partition.

        Args:
            event: The event.
            partition: Where it stands in the log,
            position: and at which position.
            appended_us: When it was appended to the log.
        """
        self._reached[partition] = position
        group, minute = self._stream.group_of(event), self._stream.minute_of(event)
        whole = self._known(group, minute)
        if whole is not None:
            whole.take(event, position)
            self._changed[group, minute] = whole
            return
        # Of a stretch that was forgotten: what is known of it now is not to be told any more.
        self._untold.pop((group, minute), None)
        span = self._span(group, minute, appended_us)
        if span not in self.waiting:
            self.waiting[span] = Waiting(partition, self._missed[partition])
        self.waiting[span].events.append((event, position))
        self._waiting_events += 1
        if self._waiting_events > MOST_WAITING:
            self._leave_out()

    def install(
        self, span: Span, rows: Iterable[Mapping[str, Any]], reach: Mapping[int, int]
    ) -> None:
        """Take in what silver knows of a span, and the events that have waited for it.

        Args:
            span: What was read.
            rows: Everything that silver knows of it.
            reach: By partition, the log position up to which silver had seen everything.
        """
        waiting = self.waiting.get(span)
        if waiting is None or reach.get(waiting.partition, -1) < waiting.needs:
            return  # it was left out meanwhile, and waits for more by now
        events = self._no_longer_waiting(span)
        if span.until is None:
            self._openings.pop(span.group)
            group = self._groups[span.group] = Group(span.since, waiting.partition)
            for key in [key for key in self._late if key[0] == span.group and key[1] >= span.since]:
                group.wholes[key[1]] = self._late.pop(key)
            for other in [other for other in self.waiting if self._covers(span, other)]:
                events += self._no_longer_waiting(other)
        else:
            self._late[span.group, span.since] = self._stream(
                span.group, span.since, waiting.partition
            )
        for row in rows:
            self._changing(row).recall(row)
        for event, position in sorted(events, key=lambda one: one[1]):
            self._changing(event).take(event, position)

    def changes(self) -> list[Values]:
        """Return the rows that have changed since last asked, each in its newest version."""
        self.settle()
        untold, self._untold = self._untold, OrderedDict()
        return [row for rows in untold.values() for row in rows.values()]

    def settle(self) -> None:
        """Note which rows have changed, and forget what is too much."""
        changed, self._changed = self._changed, {}
        for key, whole in changed.items():
            rows = self._untold.setdefault(key, {})
            rows |= {self._name(row): row for row in whole.rows()}
        while len(self._untold) > MOST_UNTOLD:
            self._untold.popitem(last=False)
        self._forget({group for group, _ in changed})

    @property
    def is_crowded(self) -> bool:
        """Whether what waits is about to be left out."""
        return self._waiting_events > MOST_WAITING // 2

    def _name(self, row: Values) -> tuple[Any, ...]:
        return tuple(row[column] for column in self._stream.relation.key)

    def _known(self, name: str, minute: int) -> Whole | None:
        group = self._groups.get(name)
        if group is None or not group.knows(minute):
            late = self._late.get((name, minute))
            if late is not None:
                self._late.move_to_end((name, minute))
            return late
        self._groups.move_to_end(name)
        if minute not in group.wholes:
            group.wholes[minute] = self._stream(name, minute, group.partition)
        group.wholes.move_to_end(minute)
        return group.wholes[minute]

    def _changing(self, said: Mapping[str, Any]) -> Whole:
        name, minute = self._stream.group_of(said), self._stream.minute_of(said)
        whole = self._known(name, minute)
        if whole is None:
            raise KeyError(f"{name} {minute} was not asked for")
        self._changed[name, minute] = whole
        return whole

    def _span(self, group: str, minute: int, appended_us: int) -> Span:
        """Return what must be read before an event of a minute can be counted."""
        alone = Span.of_minute(group, minute)
        if alone in self.waiting:
            return alone
        opening = self._openings.get(group)
        if opening is None and group not in self._groups:
            if not self._stream.relation.has_windows:
                opening = self._openings[group] = Span(group, minute, None)
            elif minute + FRESH_US >= appended_us:
                since = minute - (self._minutes - 1) * MINUTE_US
                opening = self._openings[group] = Span(group, since, None)
        if opening is not None and minute >= opening.since:
            return opening
        return alone

    @staticmethod
    def _covers(opening: Span, other: Span) -> bool:
        return other.group == opening.group and other.since >= opening.since

    def _no_longer_waiting(self, span: Span) -> list[tuple[Event, int]]:
        events = self.waiting.pop(span).events
        self._waiting_events -= len(events)
        return events

    def _leave_out(self) -> None:
        """Give up what waits longest; its next event asks for all that was given up."""
        span = next(iter(self.waiting))
        self._no_longer_waiting(span)
        if span.until is None:
            del self._openings[span.group]
        self.left_out += 1
        self._forgot(span.group)

    def _forget(self, touched: Iterable[str]) -> None:
        """Forget the minutes, and the groups, beyond what is remembered."""
        for name in touched:
            group = self._groups.get(name)
            while group is not None and len(group.wholes) > self._minutes:
                group.forget()
                self._forgot(name)
        while len(self._groups) > self._stream.most_groups:
            name, _ = self._groups.popitem(last=False)
            self._forgot(name)
        while len(self._late) > MOST_LATE:
            (name, _), _ = self._late.popitem(last=False)
            self._forgot(name)

    def _forgot(self, group: str) -> None:
        """Note that what is known of the events up to now is no longer all there is."""
        self._missed = dict(self._reached)
        if (opening := self._openings.get(group)) is not None:
            waiting = self.waiting[opening]
            waiting.needs = self._missed[waiting.partition]

"""Whatever the memory forgets, and whenever silver is read: what is told is the oracle's row.

A model of a reader of the log with next to no memory, beside a silver table that follows at its
own pace. Every row that is told is held against the naive oracle as of the row's own offset.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import trade_log
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from live_logs import CASES, Case, accepted, plain, silver_rows
from trade_log import NOON

from demo.oracle import LoggedEvent
from demo.verdict import compare
from serving.live import memory
from serving.live.bars import Bar
from serving.live.digits import MINUTE_US, micros
from serving.live.memory import Memory, Span
from serving.live.relations import Values, key_of

pytestmark = pytest.mark.serving

NOON_US = micros(NOON)
# A restart, a step of silver, a read of silver, its arrival, a look at the news: or an event.
# Silver is behind the reader, mostly.
STEPS = ("restart", "silver", *["read", "arrive", "tell"] * 3, *["event"] * 8)
# When events were appended to the log, by how fresh that makes those of the log's three minutes.
APPENDED_US = {
    "all": NOON_US,
    "none": NOON_US + 10 * memory.FRESH_US,
    "the last minute's": NOON_US + memory.FRESH_US + 2 * MINUTE_US,
}


class Read(NamedTuple):
    """What was read of silver and has not arrived."""

    span: Span
    rows: list[dict[str, Any]]
    reach: int


class Reader:
    """The live tier at step granularity, with one partition."""

    def __init__(self, case: Case, log: list[LoggedEvent], fresh: str, minutes: int) -> None:
        self.case, self.log, self.minutes = case, log, minutes
        self.at = self.silver = self.caught_up_at = 0
        self.appended_us = APPENDED_US[fresh]
        self.told: dict[str, Values] = {}
        self.restart()

    def restart(self) -> None:
        # The rows of an earlier life stand in the topic; this one begins to tell when it has
        # caught up with it.
        self.caught_up_at = max(self.caught_up_at, self.at)
        self.at = self.silver
        first = self.log[self.at].position if self.at < len(self.log) else len(self.log)
        self.memory = Memory(self.case.stream, {0: first}, self.minutes)
        self.reads: list[Read] = []

    def event(self) -> None:
        if self.at < len(self.log):
            logged = self.log[self.at]
            self.memory.take(logged.event, 0, logged.position, self.appended_us)
            self.at += 1

    def read(self) -> None:
        rows = silver_rows(self.case, self.log[: self.silver])
        reach = self.log[self.silver - 1].position if self.silver else -1
        for span in self.memory.waiting:
            of_span = [row for row in rows if self._is_of(row, span)]
            self.reads.append(Read(span, of_span, reach))

    def _is_of(self, row: Mapping[str, Any], span: Span) -> bool:
        start = self.case.stream.minute_of(row)
        return (
            self.case.stream.group_of(row) == span.group
            and start >= span.since
            and (span.until is None or start < span.until)
        )

    def arrive(self) -> None:
        if self.reads:
            read = self.reads.pop(0)
            self.memory.install(read.span, read.rows, {0: read.reach})

    def tell(self) -> None:
        if self.at < self.caught_up_at:
            self.memory.settle()
            return
        for row in self.memory.changes():
            key = key_of(self.case.stream.relation, row)
            before = self.told.get(key)
            assert before is None or before["last_offset"] <= row["last_offset"], "went back"
            self.told[key] = row
            as_of = [one for one in self.log if one.position <= row["last_offset"]]
            expected = {
                name: plain(one)
                for name, one in self.case.expected(as_of).items()
                if key_of(self.case.stream.relation, plain(one)) == key
            }
            verdict = compare(expected, [row], key=self.case.stream.relation.key)
            assert verdict.equal, str(verdict)


@pytest.fixture(autouse=True)
def next_to_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_LATE", 1)
    monkeypatch.setattr(memory, "MOST_WAITING", 6)


@pytest.mark.parametrize("fresh", APPENDED_US)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=30, phases=[Phase.generate, Phase.shrink])
@given(st.data())
def test_what_is_told_is_exact_as_of_its_offset(name: str, fresh: str, data: st.DataObject) -> None:
    case = CASES[name]
    log = accepted(case, data.draw(st.lists(case.events, min_size=10, max_size=30)))
    reader = Reader(case, log, fresh, data.draw(st.sampled_from([1, 2, 3])))
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=40, max_size=90)):
        if step == "silver":
            reader.silver = min(reader.silver + data.draw(st.integers(1, 4)), len(log))
        else:
            getattr(reader, step)()
    # At the end of the log, with silver there, all that was not left out is told.
    while reader.at < len(log):
        reader.event()
    reader.silver = len(log)
    reader.read()
    while reader.reads:
        reader.arrive()
    reader.tell()
    assert not reader.memory.waiting


def trade(number: int, minute: int, symbol: str = "BTCUSDT") -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return trade_log.DEFAULTS | {"trade_id": number, "symbol": symbol, "event_time": at}


def group(symbol: str = "BTCUSDT") -> str:
    return f"binance_spot:{symbol}"


MIXED_US = APPENDED_US["the last minute's"]
OLD = Span.of_minute(group(), NOON_US)
OPENING = Span(group(), NOON_US, None)


def counts(memory: Memory) -> dict[str, int]:
    return {row["window_start"][14:16]: row["trade_count"] for row in memory.changes()}


def test_what_waits_by_itself_comes_along_when_its_group_opens() -> None:
    seen = Memory(Bar, {0: 0})
    seen.take(trade(1, 0), 0, 0, MIXED_US)
    seen.take(trade(2, 2), 0, 1, MIXED_US)
    assert set(seen.waiting) == {OLD, OPENING}
    seen.install(OPENING, [], {})
    assert counts(seen) == {"00": 1, "02": 1}
    assert not seen.waiting


def test_an_opening_needs_what_was_forgotten_while_it_waited() -> None:
    seen = Memory(Bar, {0: 0})
    seen.take(trade(1, 0), 0, 0, MIXED_US)
    seen.install(OLD, [], {})
    seen.take(trade(2, 2), 0, 1, MIXED_US)
    seen.take(trade(3, 0, "ETHUSDT"), 0, 2, MIXED_US)
    seen.install(Span.of_minute(group("ETHUSDT"), NOON_US), [], {})
    assert counts(seen) == {"00": 1}, "one late minute is remembered, the other was forgotten"
    seen.install(OPENING, [], {0: 1})
    assert set(seen.waiting) == {OPENING}, "the first event may not be in what was read"
    seen.install(OPENING, [], {0: 2})
    assert not seen.waiting


def test_a_forgotten_minute_that_waits_is_not_told_as_it_was() -> None:
    seen = Memory(Bar, {0: 0}, minutes=1)
    seen.take(trade(1, 0), 0, 0, NOON_US)
    seen.install(OPENING, [], {})
    seen.settle()
    seen.take(trade(2, 1), 0, 1, NOON_US)
    seen.settle()
    seen.take(trade(3, 0), 0, 2, NOON_US)
    assert counts(seen) == {"01": 1}
    assert set(seen.waiting) == {OLD}


def test_a_minute_ahead_that_was_forgotten_is_not_begun_anew() -> None:
    seen = Memory(Bar, {0: 0}, minutes=1)
    for offset, (number, minute) in enumerate([(1, 0), (2, 5), (3, 0)]):
        seen.take(trade(number, minute), 0, offset, NOON_US)
    seen.install(OPENING, [], {})
    assert counts(seen) == {"00": 2, "05": 1}
    seen.take(trade(4, 5), 0, 3, NOON_US)
    assert set(seen.waiting) == {Span.of_minute(group(), NOON_US + 5 * MINUTE_US)}

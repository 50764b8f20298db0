"""An abstract model of the platform, small enough to walk through every state it can reach.

One window (one key of `gold.bars_1m`) is modelled with every step that can change what a reader
sees of it: a batch run over any interval of the landed log, in any order, again and with gaps; a
speed micro-batch of any length, which reads two tables, appends to two and commits a checkpoint; a
restart, a lost checkpoint, a start from where batch is; a file correction; a reconciliation. Keys
do not depend on one another, so one window stands for all; an event of another key is a `.`.

Landing has no step of its own: a run may end anywhere in the log, which is where landing was.

A row is modelled as a *mask*, one bit for each event it was made from, and the offset it states.
So what can happen depends only on which trade each event is about (the *shape* of the log), as long
as no rule looks at values.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

# A file correction is no event: it has a bit, but no place in the log.
FILE = 1 << 20
NOTHING = 0
UNKNOWN = -1


class Row(NamedTuple):
    """A version of the window's row: what it was made from, and the offset it states."""

    mask: int = NOTHING
    offset: int = 0


class State(NamedTuple):
    """Everything that is stored anywhere. No row at all is `Row()`, which states offset 0."""

    silver: Row = Row()  # batch silver; a trade's row is the trade's part of the mask
    gold: Row = Row()  # batch gold
    published: int = 0  # how far batch gold has seen, whether or not it kept a row
    own: int = NOTHING  # silver_rt; a trade's newest row is the trade's part of the mask
    rt: Row = Row()  # gold_rt: the newest version
    done: int = 0  # speed's checkpoint: the next log position to read
    memory: int = UNKNOWN  # what the speed process holds of the window; unknown after a start
    read: int = UNKNOWN  # the first of the two tables that a micro-batch has read
    covered: tuple[int, int] = (NOTHING, 0)  # silver and gold as the last reconciliation saw them
    filed: bool = False  # a file correction has landed


class Shape(NamedTuple):
    """Which trade (or another key's: `.`) each event of the log is about, as in `"ab.a"`."""

    letters: str

    @property
    def length(self) -> int:
        """The number of events in the log."""
        return len(self.letters)

    def events(self, start: int, end: int) -> int:
        """Return the window's events in `[start, end)` of the log."""
        return _events(self.letters, start, end)

    @property
    def trades(self) -> tuple[int, ...]:
        """Each trade's part of a mask; a file corrects the first trade."""
        return _trades(self.letters)


@cache
def _events(letters: str, start: int, end: int) -> int:
    return sum(1 << n for n in range(start, end) if letters[n] != ".")


@cache
def _trades(letters: str) -> tuple[int, ...]:
    names = sorted(set(letters) - {"."})
    masks = [sum(1 << n for n, of in enumerate(letters) if of == name) for name in names]
    return (masks[0] | FILE, *masks[1:]) if masks else ()


def top(mask: int) -> int:
    """Return the offset that a row made from these events states (the first event is 1)."""
    return (mask & (FILE - 1)).bit_length()


# --- The rules. Each is a function, and a mutation is another function in its place. ------------

Vanished = Callable[[int], bool]


def merge(batch: Row, speed: Row) -> Row:
    """Merge as the view does: the row that has seen more of the log wins; on a tie, batch."""
    return batch if batch.offset >= speed.offset else speed


def recompute(silver: Row, shape: Shape, start: int, end: int) -> Row:
    """Recompute a touched window from all that landed before the end, or before a later end."""
    if not shape.events(start, end):
        return silver
    newest = shape.events(0, end) | silver.mask
    return Row(newest, top(newest))


def write_always(row: Row, older: Row, vanished: Vanished) -> Row:
    """Write every row: a tombstone when nothing of the window is left."""
    return row


def newest_of_each(own: int, silver: int, trades: tuple[int, ...]) -> int:
    """Merge silver and silver_rt trade by trade, by the same rule as the view."""
    known = NOTHING
    for trade in trades:
        batch, speed = silver & trade, own & trade
        known |= batch if top(batch) >= top(speed) else speed
    return known


def covered_earlier(state: State) -> tuple[int, int]:
    """Prune what an earlier reconciliation found covered, not what this one finds."""
    return state.covered


@dataclass(frozen=True)
class Rules:
    """The platform's rules; `look_at_values` says that one of them asks what a row says."""

    merge: Callable[[Row, Row], Row] = merge
    recompute: Callable[[Row, Shape, int, int], Row] = recompute
    write: Callable[[Row, Row, Vanished], Row] = write_always
    start_from: Callable[[int, int, tuple[int, ...]], int] = newest_of_each
    prunable: Callable[[State], tuple[int, int]] = covered_earlier
    reads_own_first: bool = True
    look_at_values: bool = False


# --- The steps. ---------------------------------------------------------------------------------


@cache
def _all_intervals(
    rule: Callable[[Row, Shape, int, int], Row], silver: Row, shape: Shape
) -> frozenset[Row]:
    """Return what silver's row may become by a run over any interval of the log."""
    ends = range(1, shape.length + 1)
    return frozenset(rule(silver, shape, start, end) for end in ends for start in range(end))


@dataclass(frozen=True)
class World:
    """The steps that are possible in a log of one shape under given rules.

    With `torn_commits`, a process may stop between any two of its commits, and the speed layer may
    hold the window in memory. Without, a run and a micro-batch commit as one: fewer states, longer
    logs.
    """

    shape: Shape
    rules: Rules
    vanished: Vanished
    torn_commits: bool
    files: bool

    def steps(self, state: State) -> Iterator[State]:
        """Yield every state that one step of one process leads to, reconciliation apart."""
        yield from self.batch(state)
        yield from self.speed(state)
        if self.files and not state.filed:
            yield state._replace(filed=True)

    def batch(self, state: State) -> Iterator[State]:
        """Run over any interval, in any order, again; silver and gold are two commits."""
        for silver in self._runs(state):
            after = state._replace(silver=silver)
            yield after if self.torn_commits else self._publish(after)
        if self.torn_commits:
            yield self._publish(state)

    def _runs(self, state: State) -> Iterable[Row]:
        rows = _all_intervals(self.rules.recompute, state.silver, self.shape)
        if not state.filed:
            return rows
        corrects = self.shape.trades[0]
        return {row._replace(mask=row.mask | FILE) if row.mask & corrects else row for row in rows}

    def _publish(self, state: State) -> State:
        row = self.rules.write(state.silver, Row(), self.vanished)
        return state._replace(gold=row, published=state.silver.offset)

    def speed(self, state: State) -> Iterator[State]:
        """Restart, lose the checkpoint, start from where batch is, or process a micro-batch."""
        restarted = state
        if state.memory != UNKNOWN or state.read != UNKNOWN:
            restarted = state._replace(memory=UNKNOWN, read=UNKNOWN)
            yield restarted
        for done in {0, max(state.done, state.published)} - {state.done}:
            yield restarted._replace(done=done)
        if state.memory != UNKNOWN:
            yield from self._micro_batches(state, state.memory)
            return
        first, second = state.own, state.silver.mask
        if not self.rules.reads_own_first:
            first, second = second, first
        if state.read == UNKNOWN:
            yield state._replace(read=first)
            return
        own, silver = (state.read, second) if self.rules.reads_own_first else (second, state.read)
        known = self.rules.start_from(own, silver, self.shape.trades)
        yield from self._micro_batches(state._replace(read=UNKNOWN), known)

    def _micro_batches(self, state: State, known: int) -> Iterator[State]:
        """Append the touched trades, then the whole window, then commit the checkpoint."""
        for end in range(state.done + 1, self.shape.length + 1):
            events = self.shape.events(state.done, end)
            knows = known | events
            touched = sum(trade for trade in self.shape.trades if trade & events)
            row = self.rules.write(Row(knows, top(knows)), state.rt, self.vanished)
            newest = row if events and row.offset >= state.rt.offset else state.rt
            own = (state.own & ~touched) | (knows & touched)
            if self.torn_commits:
                silver = state._replace(own=own, memory=UNKNOWN)
                gold = silver._replace(rt=newest)
                yield silver
                yield gold
                yield gold._replace(done=end, memory=knows)
            else:
                yield state._replace(own=own, rt=newest, done=end, memory=UNKNOWN)

    def reconcile(self, state: State) -> State:
        """Prune what may be pruned in both speed tables; remember what batch covers now."""
        silver, gold = self.rules.prunable(state)
        own = NOTHING
        for trade in self.shape.trades:
            if top(state.own & trade) > top(silver & trade):
                own |= state.own & trade
        return state._replace(
            own=own,
            rt=state.rt if state.rt.offset > gold else Row(),
            covered=(state.silver.mask, state.gold.offset),
        )

    def floor(self, state: State) -> int:
        """Return the offset that a query starting now must not fall behind.

        It is what either layer has got past, and what the view shows already.
        """
        past = top(self.shape.events(0, state.done))
        shown = self.rules.merge(state.gold, state.rt).offset
        return max(past, state.published, shown)

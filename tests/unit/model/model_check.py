"""The walk through every state of the model, and the judge of what readers see there.

A query pins the snapshots of the two layers at two moments, in either order. The one assumption:
no two reconciliations pass between them (they are an hour apart; the pins, milliseconds).
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from lambda_model import FILE, Row, Rules, Shape, State, Vanished, World

# What each event of a log is: a trade, a correction, a cancel; `.` is an event of another key.
Kinds = str


class Pin(NamedTuple):
    """A query that has pinned one layer's snapshot and not yet the other's."""

    side: str
    row: Row
    floor: int


class View(NamedTuple):
    """One answer of the merged view, and what it must not fall behind.

    `tie` holds what the batch and the speed row were made from when they state one offset.
    """

    row: Row
    floor: int
    tie: tuple[int, int] | tuple[()]
    torn: bool

    def __str__(self) -> str:
        return f"{'torn' if self.torn else 'whole'} view"


class Graph(NamedTuple):
    """Every reachable state, and the states that its steps lead to, by number."""

    states: list[State]
    steps: list[set[int]]
    reconciled: list[int]


def explore(world: World) -> Graph:
    """Walk through every state that can be reached."""
    states = [State()]
    number = {states[0]: 0}

    def visit(state: State) -> int:
        at = number.setdefault(state, len(states))
        if at == len(states):
            states.append(state)
        return at

    steps: list[set[int]] = []
    reconciled: list[int] = []
    for state in states:  # grows while it is walked
        steps.append({visit(after) for after in world.steps(state)})
        reconciled.append(visit(world.reconcile(state)))
    return Graph(states, steps, reconciled)


def views(world: World, graph: Graph) -> set[View]:
    """Return every answer that the merged view can give, whole or torn between two moments."""

    def answer(batch: Row, speed: Row, floor: int, *, torn: bool) -> View:
        tie = (batch.mask, speed.mask) if batch.offset == speed.offset else ()
        return View(world.rules.merge(batch, speed), floor, tie, torn)

    answers: set[View] = set()
    pins: dict[Pin, int] = {}
    opened: list[int] = []
    for state in graph.states:
        floor = world.floor(state)
        answers.add(answer(state.gold, state.rt, floor, torn=False))
        mine = (Pin("batch", state.gold, floor), Pin("speed", state.rt, floor))
        opened.append(sum(1 << pins.setdefault(pin, len(pins)) for pin in mine))
    held: dict[tuple[Row, Row], int] = defaultdict(int)
    for state, open_pins in zip(graph.states, _pins_held(graph, opened), strict=True):
        held[state.gold, state.rt] |= open_pins
    for (gold, rt), open_pins in held.items():
        for pin, bit in pins.items():
            if open_pins >> bit & 1:
                batch, speed = (pin.row, rt) if pin.side == "batch" else (gold, pin.row)
                answers.add(answer(batch, speed, pin.floor, torn=True))
    return answers


def _pins_held(graph: Graph, opened: list[int]) -> Iterator[int]:
    """Return for each state the pins (as bits) that a query may hold when it is reached.

    A query holds its pin along any steps and at most one reconciliation.
    """
    fresh, aged = list(opened), [0] * len(opened)
    waiting = deque(range(len(opened)))
    queued = [True] * len(opened)
    while waiting:
        at = waiting.popleft()
        queued[at] = False
        reached = [(after, fresh[at], aged[at]) for after in graph.steps[at]]
        reached.append((graph.reconciled[at], 0, fresh[at]))
        for after, new, old in reached:
            if new & ~fresh[after] or old & ~aged[after]:
                fresh[after] |= new
                aged[after] |= old
                if not queued[after]:
                    queued[after] = True
                    waiting.append(after)
    return (new | old for new, old in zip(fresh, aged, strict=True))


# --- The judge: a naive pass over the log. ------------------------------------------------------


def value(kinds: Kinds, shape: Shape, mask: int) -> tuple[tuple[int, int], ...]:
    """Return what the window says after a naive pass over the events of a mask.

    A trade that counts is worth the place of the event that gave its price (negative once a file
    has corrected it), so that two different answers never look alike.
    """
    says = []
    for trade in shape.trades:
        events = [(kinds[n], n + 1) for n in range(shape.length) if mask & trade & (1 << n)]
        trades = [place for kind, place in events if kind == "T"]
        corrections = [place for kind, place in events if kind == "C"]
        if trades and all(kind != "X" for kind, _ in events):
            price = corrections[-1] if corrections else trades[0]
            says.append((trade, -price if mask & trade & FILE else price))
    return tuple(says)


def alike(kinds: Kinds, shape: Shape, one: int, other: int) -> bool:
    """Whether two masks say the same; the same events say the same in every log."""
    return one == other or value(kinds, shape, one) == value(kinds, shape, other)


def judge(kinds: Kinds, shape: Shape, view: View) -> str | None:
    """Return what is wrong with an answer in one log, or None."""
    row, floor, tie, _ = view
    stated = shape.events(0, row.offset) | (row.mask & FILE)
    if not alike(kinds, shape, row.mask, stated):
        return f"{view}: not exact as of the offset it states, {row.offset}"
    if row.offset < floor:
        return f"{view}: as of offset {row.offset}, though {floor} had been reached"
    if tie:
        batch, speed = tie
        if not alike(kinds, shape, batch & ~FILE, speed & ~FILE):
            return f"{view}: the layers differ at the same offset, {row.offset}"
        if batch & FILE and not row.mask & FILE:
            return f"{view}: a file correction that batch holds is not seen"
    return None


def shapes(length: int, *, other_keys: bool = False) -> Iterator[Shape]:
    """Yield every shape of a length, once up to the names of its trades."""
    names = "abcde"[:length]
    for letters in product(names + "." * other_keys, repeat=length):
        used = "".join(dict.fromkeys(letter for letter in letters if letter != "."))
        if used and names.startswith(used):
            yield Shape("".join(letters))


def logs(shape: Shape) -> Iterator[Kinds]:
    """Yield every log of a shape."""
    yield from map("".join, product(*("." if of == "." else "TCX" for of in shape.letters)))


@dataclass
class Result:
    """How much was checked, and the first log in which an answer is wrong."""

    logs: int = 0
    states: int = 0
    answers: int = 0
    finding: str | None = None


def check(
    scope: Iterable[Shape], rules: Rules, *, torn_commits: bool, files: bool = False
) -> Result:
    """Check every log of the shapes, in every state; stop at the first wrong answer."""
    result = Result()
    for shape in scope:
        seen: list[View] = []
        for kinds in logs(shape):
            if not seen or rules.look_at_values:
                world = World(shape, rules, _vanished(kinds, shape, rules), torn_commits, files)
                graph = explore(world)
                seen = sorted(views(world, graph))
                result.states += len(graph.states)
                result.answers += len(seen)
            result.logs += 1
            problem = next(filter(None, (judge(kinds, shape, view) for view in seen)), None)
            if problem:
                result.finding = f"trades {shape.letters}, events {kinds}: {problem}"
                return result
    return result


def _vanished(kinds: Kinds, shape: Shape, rules: Rules) -> Vanished:
    """Return the question whether nothing of a window is left, for rules that may ask it."""

    def vanished(mask: int) -> bool:
        if not rules.look_at_values:
            raise AssertionError("a rule looked at a value, so one log can't stand for its shape")
        return not value(kinds, shape, mask)

    return vanished

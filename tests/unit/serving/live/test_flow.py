"""One stream at work: how far it says that it has read, and what it waits for."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message
from live_logs import CASES
from pyiceberg.catalog import Catalog
from trade_log import payload

import schemas
from schemas.registry import ContractRegistry, RegistryUnavailableError
from schemas.wire import EventCodec
from serving.live import flow as flow_module
from serving.live.flow import Flow
from serving.live.history import History
from serving.live.outlet import Outlet
from serving.live.progress import Progress
from serving.live.relations import Relation, Values

pytestmark = pytest.mark.serving

BARS = CASES["bars_1m"].stream
# Of a schema that no contract knows.
FOREIGN = b"\x00\x00\x00\xff\xff..."
DEADLINE_SECONDS = 30.0


class Outbox(Outlet):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.rows: list[Values] = []
        self.progress: list[Progress] = []

    def tell(self, relation: Relation, row: Values) -> None:
        self.rows.append(row)

    def tell_progress(self, relation: Relation, progress: Progress) -> None:
        self.progress.append(progress)


class Registry(ContractRegistry):
    """The contracts, of which some time nothing can be had but what is known."""

    is_away = False

    def schema_for(self, schema_id: int) -> str:
        if self.is_away:
            raise RegistryUnavailableError("nobody answers")
        return super().schema_for(schema_id)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def begun(catalog: Catalog, registry: Registry) -> Callable[..., Flow]:
    def begun(asked_at: float, ends: dict[int, int]) -> Flow:
        codec = EventCodec(registry, 1_000_000, schemas.topics()[BARS.topic])
        starts, history = dict.fromkeys(ends, 0), History(catalog, BARS, 0)
        return Flow(BARS, codec, history, starts=starts, ends=ends, asked_at=asked_at, origin=0)

    return begun


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "RETRY_SECONDS", "PROGRESS_SECONDS"):
        monkeypatch.setattr(flow_module, name, 0.0)


def message(partition: int, offset: int, value: bytes | None = None, *, at: float = 0.0) -> Message:
    """A message as the broker appended it at some time; a trade of that time if nothing else."""
    at = at or time.time()
    moment = datetime.fromtimestamp(at, UTC)
    said = payload(trade_id=offset, symbol=f"S{partition}", event_time=moment)
    return Message(
        topic=BARS.topic,
        partition=partition,
        offset=offset,
        value=said if value is None else value,
        timestamp=(2, int(at * 1000)),
    )


def until(executor: Executor, flow: Flow, happens: Callable[[], Any]) -> None:
    """Let a flow go on until something has happened."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while not happens():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
        flow.read(executor)


def test_it_has_read_through_a_time_when_each_partition_s_end_of_then_is_reached(
    begun: Callable[..., Flow], outbox: Outbox, executor: Executor
) -> None:
    flow, now = begun(asked_at := time.time() - 100, {0: 1, 1: 1}), time.time()
    flow.take(message(0, 0))
    assert flow.is_behind
    flow.take(message(1, 0))
    assert not flow.is_behind
    until(executor, flow, lambda: not flow.memory.waiting)
    flow.tell(outbox)
    assert outbox.progress[-1].seen_through == asked_at
    assert outbox.progress[-1].said_at >= now
    # One partition is far behind the other; what is newest says nothing of it.
    flow.heed(asked_at + 50, {0: 2, 1: 2})
    flow.take(message(0, 1))
    flow.heed(asked_at + 60, {0: 3, 1: 3})
    flow.take(message(0, 2))
    flow.tell(outbox)
    assert outbox.progress[-1].seen_through == asked_at
    flow.passed(1, 2)
    flow.tell(outbox)
    assert outbox.progress[-1].seen_through == asked_at + 50
    assert outbox.progress[-1].positions == {0: 2, 1: 1}


def test_while_an_event_waits_it_is_not_seen_and_progress_is_told_all_the_same(
    begun: Callable[..., Flow], outbox: Outbox, executor: Executor
) -> None:
    flow = begun(asked_at := time.time(), {0: 0})
    flow.tell(outbox)
    flow.take(message(0, 0))
    flow.heed(asked_at + 5, {0: 1})
    flow.tell(outbox)
    flow.tell(outbox)
    assert [one.seen_through for one in outbox.progress] == [asked_at] * 4
    until(executor, flow, lambda: not flow.memory.waiting)
    flow.tell(outbox)
    assert outbox.progress[-1].seen_through == asked_at + 5
    assert [row["trade_count"] for row in outbox.rows] == [1]


def test_what_waits_since_before_the_start_is_as_old_as_the_log_says(
    begun: Callable[..., Flow], outbox: Outbox
) -> None:
    flow, now = begun(time.time(), {0: 1}), int(time.time())
    flow.take(message(0, 0, at=now - 1000.0))
    flow.tell(outbox)
    assert outbox.progress[-1].seen_through == now - 1000


def test_a_flow_that_follows_another_tells_nothing_before_it_has_read_as_far(
    begun: Callable[..., Flow], outbox: Outbox
) -> None:
    earlier, flow = begun(time.time(), {0: 0}), begun(time.time(), {0: 0})
    earlier.take(message(0, 0))
    flow.follow(earlier)
    flow.tell(outbox)
    assert (flow.is_behind, outbox.progress) == (True, [])
    flow.take(message(0, 0))
    assert not flow.is_behind


def test_a_registry_that_is_away_holds_the_flow_and_nothing_is_lost(
    begun: Callable[..., Flow], registry: Registry, executor: Executor
) -> None:
    flow = begun(time.time(), {0: 0})
    flow.take(message(0, 0))
    registry.is_away = True
    flow.take(message(0, 1, FOREIGN))
    assert (flow.is_held, flow.next) == (True, {0: 1})
    until(executor, flow, lambda: not flow.memory.waiting)
    assert flow.is_held, "silver goes on being read"
    registry.is_away = False
    until(executor, flow, lambda: not flow.is_held)
    flow.take(message(0, 1, FOREIGN))
    assert (flow.is_held, flow.next) == (False, {0: 2}), "it is no event, as is known now"

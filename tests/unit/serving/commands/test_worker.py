"""The worker does one thing after the other; what fails does not keep it from the rest."""

from functools import partial
from threading import Event

import pytest
from asked import CODEC, Asking, FakeLog
from prometheus_client import REGISTRY

from lakehouse.delivery import DeadProducerError
from lakehouse.dispatch import Dispatch
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.settings import Settings
from serving.commands.metrics import OLDEST_UNSENT_SECONDS
from serving.commands.status import Status
from serving.commands.worker import Worker

pytestmark = pytest.mark.serving


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> FakeLog:
    log = FakeLog()
    connect = lambda *_, **__: Dispatch(log)  # noqa: E731
    monkeypatch.setattr(Dispatch, "connect", connect)
    monkeypatch.setattr("serving.commands.worker.client_settings", lambda _: {})
    return log


@pytest.fixture
def worker(settings: Settings, log: FakeLog) -> Worker:
    return Worker(settings, log=settings)


def recorded(asking: Asking) -> list[dict[str, object]]:
    rows = asking.catalog.load_table("ops.commands").scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: row["accepted_at"])


def test_one_round_sends_erases_and_records(
    asking: Asking, worker: Worker, log: FakeLog, settings: Settings
) -> None:
    SqliteKeyStore.of(settings).key_to_write("C-1")
    correction, erasure = asking.correct(), asking.erase("C-1")
    assert worker.round() == 5  # two messages, an erasure, two rows
    assert worker.round() == 0
    worker.close()
    assert asking.standing(correction).status is Status.SENT
    assert asking.standing(erasure).status is Status.ERASED
    first, second = recorded(asking)
    assert (first["command_id"], second["command_id"]) == (correction.id, erasure.id)
    assert (first["kind"], first["requested_by"]) == ("trade-correction", "desk")
    assert (first["sent_topic"], first["sent_offset"]) == ("market.trades", 0)
    assert second["request"] == '{"customer_id": "C-1"}'
    assert str(first["trace_parent"]).startswith("00-0af7651916cd43dd8448eb211c80319c")


def test_a_command_is_recorded_once_though_the_worker_is_killed_before_its_mark(
    asking: Asking, worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    asking.correct()
    with monkeypatch.context() as patch:
        patch.setattr("serving.commands.audit.update", killed)
        with pytest.raises(Killed):
            worker.round()
    assert worker.round() == 1
    worker.close()
    assert len(recorded(asking)) == 1


def test_while_the_log_is_away_what_it_has_is_gone_on_with(
    asking: Asking, worker: Worker, log: FakeLog, settings: Settings
) -> None:
    SqliteKeyStore.of(settings).key_to_write("C-1")
    erasure = asking.erase("C-1")
    correction = asking.correct()
    log.refuses = lambda payload: payload.startswith(b"\x00")  # what is Avro
    assert worker.round() is None
    assert asking.standing(erasure).status is Status.ERASED
    assert asking.standing(correction).status is Status.ACCEPTED
    log.refuses = lambda _: False
    assert worker.round() == 2
    worker.close()
    assert CODEC.decode(log.messages[-1][2])["event_type"] == "CORRECTION"


def test_one_whose_producer_is_dead_ends_and_lets_another_one_work(
    asking: Asking, worker: Worker, log: FakeLog, settings: Settings
) -> None:
    asking.correct()
    log.is_dead = True
    stop = Event()
    with pytest.raises(DeadProducerError, match=r"market\.trades"):
        worker.run(stop, stop.set)
    log.is_dead = False
    other = Worker(settings, log=settings)
    assert other.round() == 2
    other.close()


def test_how_long_messages_wait_is_told_by_who_stands_by_too(
    asking: Asking, worker: Worker, log: FakeLog, settings: Settings
) -> None:
    waiting = partial(REGISTRY.get_sample_value, "lakehouse_commands_oldest_unsent_seconds")
    log.refuses = lambda _: True
    asking.correct()
    worker.round()
    standing_by = Worker(settings, log=settings)
    OLDEST_UNSENT_SECONDS.set(0)
    assert standing_by.round() == 0
    assert waiting() > 0
    log.refuses = lambda _: False
    worker.round()
    standing_by.round()
    assert waiting() == 0
    for one in (worker, standing_by):
        one.close()


def test_it_works_until_told_to_stop_and_lets_another_one_work(
    asking: Asking, worker: Worker, settings: Settings
) -> None:
    standing_by = Worker(settings, log=settings)
    asking.correct()
    stop = Event()
    beats = []

    def beat() -> None:
        beats.append(standing_by.round())
        stop.set()

    worker.run(stop, beat)
    assert beats == [0], "it stands by"
    asking.correct()
    assert standing_by.round() == 2
    standing_by.close()

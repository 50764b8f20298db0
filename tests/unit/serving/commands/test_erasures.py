"""An erasure is carried out step by step, and gone on with at the step it was at."""

from dataclasses import dataclass

import pytest
from asked import Asking, FakeLog
from pyiceberg.catalog import Catalog

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Dispatch
from lakehouse.privacy.erasure import ERASURES, INTENDED, WITHDRAWN, erase
from lakehouse.privacy.keys import KeyStoreError
from lakehouse.privacy.sqlite_keys import SqliteKeyStore
from lakehouse.saga import Journal, Outcome
from lakehouse.settings import Settings
from serving.commands.erasures import Erasures, StoredJournal
from serving.commands.lease import Lease, LeaseLostError
from serving.commands.relay import Relay
from serving.commands.status import Standing, Status
from serving.commands.store import Command

pytestmark = pytest.mark.serving


class Killed(BaseException):
    """What a process that is killed does: nothing more."""


@pytest.fixture
def keys(settings: Settings) -> SqliteKeyStore:
    store = SqliteKeyStore.of(settings)
    store.key_to_write("C-1")
    return store


@pytest.fixture
def lease(database: OwnTables) -> Lease:
    return Lease(database, "commands")


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def erasures(
    database: OwnTables, lease: Lease, keys: SqliteKeyStore, catalog: Catalog, clock: Clock
) -> Erasures:
    def erase_customer(customer_id: str, journal: Journal) -> object:
        return erase(keys, catalog, customer_id, journal)

    return Erasures(database, lease, erase_customer, clock=clock)


@pytest.fixture
def asked(asking: Asking, database: OwnTables, lease: Lease) -> Command:
    """An erasure whose request is in the log."""
    command, log = asking.erase("C-1"), FakeLog()
    Relay(database, lease, Dispatch(log)).round()
    ((topic, key, payload, _),) = log.messages
    assert (topic, key, payload) == ("privacy.erasures", b"C-1", b'{"customer_id": "C-1"}')
    return command


def outcomes(asking: Asking, command: Command) -> dict[str, tuple[str, int]]:
    steps = asking.again(command).steps.values()
    return {one.step: (one.outcome, one.tries) for one in steps}


def records(catalog: Catalog) -> int:
    return len(catalog.load_table(ERASURES).scan().to_arrow())


def summaries(catalog: Catalog) -> list[str]:
    told = [one.summary for one in catalog.load_table(ERASURES).snapshots()]
    stated = [one.additional_properties for one in told if one is not None]
    return [key for one in stated for key in one if key in (INTENDED, WITHDRAWN)]


def test_a_request_is_carried_out_once(
    asking: Asking, asked: Command, erasures: Erasures, keys: SqliteKeyStore, catalog: Catalog
) -> None:
    assert asking.standing(asked) == Standing(Status.SENT)
    assert [erasures.round() for _ in range(2)] == [1, 0]
    assert asking.standing(asked) == Standing(Status.ERASED)
    assert outcomes(asking, asked) == {
        "intend": ("DONE", 1),
        "destroy-key": ("DONE", 1),
        "record": ("DONE", 1),
    }
    assert keys.key_to_read("C-1") is None
    assert records(catalog) == 1


def test_nothing_is_destroyed_before_the_log_has_the_request(
    asking: Asking, erasures: Erasures, keys: SqliteKeyStore
) -> None:
    command = asking.erase("C-1")
    assert erasures.round() == 0
    assert asking.standing(command) == Standing(Status.ACCEPTED)
    assert keys.key_to_read("C-1") is not None


def test_two_requests_for_one_customer_are_one_erasure(
    asking: Asking,
    asked: Command,
    database: OwnTables,
    lease: Lease,
    erasures: Erasures,
) -> None:
    other = asking.erase("C-1")
    Relay(database, lease, Dispatch(FakeLog())).round()
    assert erasures.round() == 2
    assert asking.standing(other) == Standing(Status.ERASED)
    assert records(asking.catalog) == 1


@pytest.mark.parametrize("step", ["intend", "destroy-key", "record"])
def test_a_worker_that_is_killed_is_followed_by_one_that_goes_on(
    asking: Asking,
    asked: Command,
    erasures: Erasures,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """It is killed after a step and before that is on record: the step is done once more."""

    def killed(_journal: object, noted: str, *_: object) -> None:
        if noted == step:
            raise Killed
        note(_journal, noted, *_)

    note = StoredJournal.note
    with monkeypatch.context() as patch:
        patch.setattr(StoredJournal, "note", killed)
        with pytest.raises(Killed):
            erasures.round()
    assert step not in outcomes(asking, asked)
    assert erasures.round() == 1
    assert all(outcome == ("DONE", 1) for outcome in outcomes(asking, asked).values())
    assert records(asking.catalog) == 1


def test_a_step_that_fails_says_why_and_is_tried_again_later(
    asking: Asking,
    asked: Command,
    erasures: Erasures,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise KeyStoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteKeyStore, "destroy", fails)
        assert [erasures.round() for _ in range(2)] == [0, 0]
    failed = asking.again(asked).steps["destroy-key"]
    assert (failed.outcome, failed.tries) == ("FAILED", 1), "not at once"
    assert failed.detail == "KeyStoreError: disk full"
    assert asking.standing(asked) == Standing(Status.SENT)
    clock.now = 1
    assert erasures.round() == 1
    assert outcomes(asking, asked)["destroy-key"] == ("DONE", 2)


def test_an_erasure_that_cannot_be_begun_is_tried_more_and_more_rarely(
    asked: Command, database: OwnTables, lease: Lease, clock: Clock
) -> None:
    tried = []

    def away(_customer_id: str, _journal: Journal) -> object:
        tried.append(clock.now)
        raise ConnectionError("the catalog is away")

    erasures = Erasures(database, lease, away, clock=clock)
    for second in range(200):
        clock.now = second
        assert erasures.round() == 0
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_who_lost_the_lease_puts_nothing_on_record(
    asking: Asking, asked: Command, database: OwnTables, lease: Lease
) -> None:
    """Another worker takes over while a step is done: the first one's journal is closed."""

    def overtaken(_customer_id: str, journal: Journal) -> None:
        lease.hand_back()
        assert Lease(database, "commands").hold()
        journal.note("intend", Outcome.DONE)

    with pytest.raises(LeaseLostError, match="commands"):
        Erasures(database, lease, overtaken).round()
    assert outcomes(asking, asked) == {}


def test_who_lost_the_lease_ends_nothing(
    asking: Asking, asked: Command, database: OwnTables, lease: Lease, erasures: Erasures
) -> None:
    other = Lease(database, "commands")

    def overtaken(_customer_id: str, _journal: Journal) -> None:
        lease.hand_back()
        assert other.hold()

    with pytest.raises(LeaseLostError, match="commands"):
        Erasures(database, lease, overtaken).round()
    other.hand_back()
    assert erasures.round() == 1, "it is not at its end"
    assert asking.standing(asked) == Standing(Status.ERASED)


def test_who_was_never_there_is_refused_and_the_intention_withdrawn(
    asking: Asking,
    database: OwnTables,
    lease: Lease,
    erasures: Erasures,
    clock: Clock,
) -> None:
    command = asking.erase("C-nobody")
    Relay(database, lease, Dispatch(FakeLog())).round()
    assert erasures.round() == 0
    clock.now = 1
    assert [erasures.round() for _ in range(2)] == [1, 0]
    standing = asking.standing(command)
    assert standing.status is Status.REFUSED
    assert "C-nobody" in (standing.detail or "")
    assert outcomes(asking, command) == {"intend": ("UNDONE", 2), "destroy-key": ("REFUSED", 1)}
    assert summaries(asking.catalog) == [INTENDED, WITHDRAWN]
    assert records(asking.catalog) == 0

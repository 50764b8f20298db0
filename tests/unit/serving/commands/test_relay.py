"""The relay sends at least once, and of each key in order, whatever happens in between."""

from collections.abc import Mapping

import pytest
from asked import Asking, FakeLog
from confluent_kafka import KafkaException
from sqlalchemy import update

from lakehouse.catalog_database import OwnTables
from lakehouse.delivery import DeadProducerError, DeliveryError
from lakehouse.dispatch import Dispatch, Sent
from serving.commands.lease import Lease, LeaseLostError
from serving.commands.relay import Relay
from serving.commands.tables import LEASES

pytestmark = pytest.mark.serving


class Killed(BaseException):
    """What a process that is killed does: nothing more."""


class KilledRelay(Relay):
    """Ends between the acknowledgement and the mark."""

    def mark(self, sent: Mapping[int, Sent]) -> None:
        raise Killed


def relay_of(database: OwnTables, log: FakeLog, kind: type[Relay] = Relay) -> Relay:
    return kind(database, Lease(database, "commands"), Dispatch(log))


def lease_is_over(database: OwnTables) -> None:
    over = update(LEASES).values(until=0)
    database.in_transaction(lambda connection: connection.execute(over))


def drain(relay: Relay) -> int:
    rounds = 0
    while relay.round():
        rounds += 1
    return rounds


def test_what_was_acknowledged_is_marked_with_its_place(
    asking: Asking, database: OwnTables
) -> None:
    command, log = asking.correct(), FakeLog()
    assert asking.again(command).sent is None
    assert relay_of(database, log).round() == 1
    found = asking.again(command)
    assert found.sent == Sent("market.trades", 0, 0)
    assert found.sent_at is not None
    assert found.sent_at > found.accepted_at
    ((topic, key, _, headers),) = log.messages
    assert (topic, key, headers["command-id"]) == (
        "market.trades",
        b"binance_spot:BTCUSDT",
        command.id.encode(),
    )


def test_of_a_key_one_message_at_a_time_is_on_its_way(asking: Asking, database: OwnTables) -> None:
    for price in ("1", "2", "3"):
        asking.correct(price=price)
    asking.correct(symbol="ETHUSDT", price="9")
    log = FakeLog()
    relay = relay_of(database, log)
    assert [relay.round() for _ in range(4)] == [2, 1, 1, 0]
    assert [price.rstrip("0.") for price in log.prices()] == ["1", "9", "2", "3"]


def test_a_repeated_correction_never_comes_after_a_newer_one(
    asking: Asking, database: OwnTables
) -> None:
    """Every relay is killed before it can mark what was acknowledged; then one is not."""
    for price in ("1", "2"):
        asking.correct(price=price)
    log = FakeLog()
    for _ in range(3):
        with pytest.raises(Killed):
            relay_of(database, log, KilledRelay).round()
        lease_is_over(database)
    assert drain(relay_of(database, log)) == 2
    assert [price.rstrip("0.") for price in log.prices()] == ["1", "1", "1", "1", "2"]


def test_what_fails_is_sent_again_before_what_follows(asking: Asking, database: OwnTables) -> None:
    for price in ("1", "2"):
        asking.correct(price=price)
    log = FakeLog(refuses=lambda _: True)
    relay = relay_of(database, log)
    with pytest.raises(DeliveryError):
        relay.round()
    log.refuses = lambda _: False
    assert drain(relay) == 2
    assert [price.rstrip("0.") for price in log.prices()] == ["1", "2"]


def test_of_a_producer_that_died_the_next_round_says_so(
    asking: Asking, database: OwnTables
) -> None:
    asking.correct()
    relay = relay_of(database, FakeLog(dies=True))
    with pytest.raises(KafkaException):
        relay.round()
    with pytest.raises(DeadProducerError):
        relay.round()


def test_of_two_relays_one_works(asking: Asking, database: OwnTables) -> None:
    asking.correct()
    first, second = (Lease(database, "commands") for _ in range(2))
    assert first.hold(1)
    assert not second.hold(1)
    log = FakeLog()
    assert Relay(database, second, Dispatch(log)).round() == 0
    assert log.messages == []
    first.hand_back()
    assert Relay(database, second, Dispatch(log)).round() == 1
    assert not first.hold(1)


def test_who_lost_the_lease_marks_nothing(asking: Asking, database: OwnTables) -> None:
    command = asking.correct()
    first = Lease(database, "commands")
    late = Relay(database, first, Dispatch(FakeLog()))
    assert first.hold(1)
    lease_is_over(database)
    assert Lease(database, "commands").hold(1)
    with pytest.raises(LeaseLostError, match="commands"):
        late.mark({1: Sent("market.trades", 0, 0)})
    assert asking.again(command).sent is None


def test_a_lease_is_counted_from_before_it_was_asked_for(database: OwnTables) -> None:
    now = 0.0
    lease = Lease(database, "commands", seconds=30, clock=lambda: now)
    assert lease.hold(20)
    assert not lease.hold(31), "nobody gets it for longer than it is given"
    now = 29.0
    assert lease.hold(20), "it is prolonged"
    now = 58.5
    assert lease.hold(20)

"""A command is taken once for its idempotency key, with its message."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier

import pytest
from asked import CODEC, TRACE, Asking
from sqlalchemy import func, select

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Message
from lakehouse.settings import Settings
from serving.commands.store import CommandStore, KeyReusedError, Kind, Request
from serving.commands.tables import COMMANDS, OUTBOX, CommandStoreError

pytestmark = pytest.mark.serving

CLICKS = 8


def counts(database: OwnTables) -> tuple[int, int]:
    def count(table: object) -> int:
        query = select(func.count()).select_from(table)  # type: ignore[arg-type]
        return int(database.in_transaction(lambda c: c.execute(query).scalar()) or 0)

    return count(COMMANDS), count(OUTBOX)


def test_a_command_and_its_message_are_kept_together(asking: Asking, database: OwnTables) -> None:
    command = asking.correct()
    (row,) = database.in_transaction(lambda c: c.execute(select(OUTBOX)).all())
    assert (row.command_id, row.topic, row.message_key) == (
        command.id,
        "market.trades",
        b"binance_spot:BTCUSDT",
    )
    event = CODEC.decode(row.payload)
    assert (event["event_type"], event["trade_id"]) == ("CORRECTION", 7)
    assert (event["price"], event["quantity"]) == (Decimal("61699.20"), Decimal("0.25"))
    assert event["event_time"].isoformat() == "2024-08-08T23:59:30.123456+00:00"
    assert TRACE["traceparent"] in row.headers
    assert command.id in row.headers


def test_a_cancellation_states_no_values(asking: Asking, database: OwnTables) -> None:
    asking.cancel()
    (row,) = database.in_transaction(lambda c: c.execute(select(OUTBOX)).all())
    event = CODEC.decode(row.payload)
    assert (event["event_type"], event["price"], event["quantity"]) == ("CANCEL", None, None)


def test_the_same_request_again_is_the_same_command(asking: Asking, database: OwnTables) -> None:
    assert asking.correct("k") == asking.correct("k")
    assert counts(database) == (1, 1)


def test_a_key_stands_for_one_request(asking: Asking, database: OwnTables) -> None:
    command = asking.correct("k")
    with pytest.raises(KeyReusedError, match=command.id):
        asking.correct("k", price="1")
    assert counts(database) == (1, 1)


def test_keys_of_two_clients_have_nothing_to_do_with_one_another(settings: Settings) -> None:
    store = CommandStore.of(settings)
    message = Message("t", b"k", b"p")
    one, other = (
        store.accept(Request(Kind.ERASURE, who, "k", {"customer_id": who}), message)
        for who in ("a", "b")
    )
    store.close()
    assert one.id != other.id


def test_a_double_click_is_one_command(settings: Settings, database: OwnTables) -> None:
    """Threads with connections of their own begin at the same moment."""
    together = Barrier(CLICKS)

    def click(_: int) -> str:
        store = CommandStore.of(settings)
        store.find("none")  # by then it is connected, and there are tables
        request = Request(Kind.ERASURE, "desk", "k", {"customer_id": "C-1"})
        together.wait()
        try:
            return store.accept(request, Message("t", b"k", b"p")).id
        finally:
            store.close()

    with ThreadPoolExecutor(CLICKS) as clients:
        answers = set(clients.map(click, range(CLICKS)))
    assert len(answers) == 1
    assert counts(database) == (1, 1)


def test_a_command_whose_message_cannot_be_kept_is_not_kept(
    settings: Settings, database: OwnTables
) -> None:
    store = CommandStore.of(settings)
    unkeyed = Message("t", None, b"p")
    with pytest.raises(CommandStoreError, match="message_key"):
        store.accept(Request(Kind.ERASURE, "desk", "k", {"customer_id": "C-1"}), unkeyed)
    store.close()
    assert counts(database) == (0, 0)

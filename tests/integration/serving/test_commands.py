"""Commands on a real log: the relay, killed between acknowledgement and mark, undoes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from embedded_lake import EmbeddedLake, embedded_lake
from sqlalchemy import update

from ingestion.sending import connected_producer
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings
from schemas import topics
from schemas.registry import ContractRegistry
from schemas.wire import EventCodec
from serving.commands.desk import CommandDesk
from serving.commands.requests import TradeCorrection
from serving.commands.status import Status
from serving.commands.store import Command
from serving.commands.tables import LEASES, command_tables

pytestmark = [
    pytest.mark.integration,
    pytest.mark.serving,
    pytest.mark.xdist_group("commands"),  # one broker
]

CODEC = EventCodec(ContractRegistry(), 1_000_000, topics()[TRADES_TOPIC])
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
# `lakehouse commands run`, that stands still once the log has acknowledged messages.
HALTED = """
import sys, time
from serving.commands import cli, relay

def halt(self, sent):
    print("acknowledged", flush=True)
    time.sleep(600)

relay.Relay.mark = halt
cli.app(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLake]:
    with embedded_lake(Settings(home=tmp_path_factory.mktemp("commands") / "home")) as lake:
        yield lake


@pytest.fixture(scope="module")
def desk(lake: EmbeddedLake) -> Iterator[CommandDesk]:
    desk = CommandDesk(lake.settings, catalog=lambda: lake.catalog)
    yield desk
    desk.close()


def correct(desk: CommandDesk, symbol: str, number: int) -> Command:
    """Ask for a correction of a symbol's trade, to a price that tells which one it was."""
    correction = {
        "kind": "correction",
        "venue": "binance_spot",
        "symbol": symbol,
        "trade_id": 1,
        "event_time": "2024-08-08T23:59:30Z",
        "price": str(number),
        "quantity": "1",
    }
    return desk.correct_trade(
        TradeCorrection.model_validate(correction),
        requested_by="desk",
        idempotency_key=f"{symbol} {number}",
        trace=TRACE,
    )


def prices(lake: EmbeddedLake, symbol: str) -> list[int]:
    """The prices that were sent for a symbol, in the order of the log."""
    events = (CODEC.decode(record.payload) for record in lake.log())
    return [int(event["price"]) for event in events if event["symbol"] == symbol]


def is_sent(desk: CommandDesk, commands: list[Command]) -> bool:
    found = (desk.find(command.id) for command in commands)
    return all(command is not None and command.sent is not None for command in found)


@contextmanager
def working(lake: EmbeddedLake, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker in a process of its own, killed at the end if it still runs."""
    process = lake.spawn("commands", "run", **options)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lease_is_over(lake: EmbeddedLake) -> None:
    tables = command_tables(lake.settings, budget_seconds=5)
    over = update(LEASES).values(until=0)
    tables.in_transaction(lambda connection: connection.execute(over))
    tables.close()


def test_a_relay_killed_before_its_mark_repeats_and_undoes_nothing(
    lake: EmbeddedLake, desk: CommandDesk
) -> None:
    commands = [correct(desk, "KILLED", number) for number in (1, 2)]
    log = lake.supervisor.log("commands")
    with working(lake, program=(sys.executable, "-c", HALTED)) as process:
        lake.wait_until(
            lambda: log.exists() and "acknowledged" in log.read_text(), "the acknowledgement"
        )
        assert process.poll() is None
    assert not is_sent(desk, commands[:1])
    lease_is_over(lake)
    with working(lake):
        lake.wait_until(lambda: is_sent(desk, commands), "both are sent")
    assert prices(lake, "KILLED") == [1, 1, 2]


def test_several_workers_send_each_message_once_and_in_order(
    lake: EmbeddedLake, desk: CommandDesk
) -> None:
    lease_is_over(lake)
    symbols = ("SEVERAL1", "SEVERAL2", "SEVERAL3")
    with working(lake), working(lake):
        commands = [correct(desk, symbol, n) for n in range(1, 6) for symbol in symbols]
        lake.wait_until(lambda: is_sent(desk, commands), "all are sent")
    for symbol in symbols:
        assert prices(lake, symbol) == [1, 2, 3, 4, 5]


def test_a_correction_lands_beside_its_trade_with_the_trace_of_its_request(
    lake: EmbeddedLake, desk: CommandDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_is_over(lake)
    monkeypatch.setattr("ingestion.sending.get_settings", lambda _: lake.settings)
    trade = {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": "LANDED",
        "trade_id": 1,
        "event_time": 1723161570_000000,
        "price": None,
        "quantity": None,
        "quantity_unit": "BASE",
    }
    with connected_producer() as producer:
        producer.send(trade)
    command = correct(desk, "LANDED", 1)
    with working(lake):
        lake.wait_until(lambda: is_sent(desk, [command]), "it is sent")
    assert desk.standing(desk.find(command.id) or command).status is Status.SENT
    lake.run("land", "--once")
    assert desk.standing(desk.find(command.id) or command).status is Status.LANDED
    landed = lake.catalog.load_table("bronze.market_trades").scan().to_arrow()
    of_trade, of_correction = (
        row
        for row in landed.sort_by("kafka_offset").to_pylist()
        if CODEC.decode(row["payload"])["symbol"] == "LANDED"
    )
    assert of_correction["kafka_partition"] == of_trade["kafka_partition"]
    assert of_correction["message_key"] == of_trade["message_key"]
    headers = dict(of_correction["headers"])
    assert headers["command-id"].decode() == command.id
    assert TRACE_ID in headers["traceparent"].decode()

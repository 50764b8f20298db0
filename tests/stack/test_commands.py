"""Commands in the stack's database: one for a key however many ask at once, and one worker."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from lakehouse.dispatch import Message
from lakehouse.kafka import ERASURES_TOPIC
from lakehouse.settings import Role, Settings
from serving.commands.lease import Lease
from serving.commands.store import CommandStore, Kind, Request
from serving.commands.tables import command_tables

# Alone it brings up the stack first.
pytestmark = [pytest.mark.stack, pytest.mark.serving, pytest.mark.timeout(600)]

CLICKS = 8


def test_a_double_click_is_one_command(stack_settings: Callable[[Role], Settings]) -> None:
    """Its message is to a topic that nobody reads: a worker may send it."""
    together = Barrier(CLICKS)
    key = os.urandom(4).hex()

    def click(_: int) -> str:
        store = CommandStore.of(stack_settings("serving"))
        store.find("none")  # by then it is connected, and there are tables
        together.wait()
        try:
            request = Request(Kind.TRADE_CORRECTION, "test", key, {})
            return store.accept(request, Message(ERASURES_TOPIC, b"test", b"{}")).id
        finally:
            store.close()

    with ThreadPoolExecutor(CLICKS) as clients:
        assert len(set(clients.map(click, range(CLICKS)))) == 1


def test_of_many_workers_one_works(stack_settings: Callable[[Role], Settings]) -> None:
    tables = command_tables(stack_settings("operator"), budget_seconds=20)
    name = f"test {os.urandom(4).hex()}"
    together = Barrier(CLICKS)

    def ask(_: int) -> Lease | None:
        lease = Lease(tables, name)
        together.wait()
        return lease if lease.hold(1) else None

    with ThreadPoolExecutor(CLICKS) as workers:
        (leading,) = filter(None, workers.map(ask, range(CLICKS)))
    leading.hand_back()
    assert Lease(tables, name).hold(1)
    tables.close()

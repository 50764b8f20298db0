"""A command is in the audit trail once, though two workers may take themselves for the one."""

from typing import Any

import pytest
from asked import Asking, FakeLog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Dispatch
from serving.commands.audit import TABLE, Audit
from serving.commands.lease import Lease
from serving.commands.relay import Relay

pytestmark = pytest.mark.serving


@pytest.fixture
def lease(asking: Asking, database: OwnTables) -> Lease:
    """Of a worker that has sent two messages."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        asking.correct(symbol=symbol)
    lease = Lease(database, "commands")
    assert Relay(database, lease, Dispatch(FakeLog())).round() == 2
    return lease


def recorded(asking: Asking) -> int:
    return len(asking.catalog.load_table(TABLE).scan().to_arrow())


def test_one_that_was_overtaken_before_its_commit_adds_nothing(
    asking: Asking, database: OwnTables, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SqlCatalog.commit_table
    other = Lease(database, "commands")

    def overtaken(self: SqlCatalog, *change: Any) -> Any:
        monkeypatch.setattr(SqlCatalog, "commit_table", commit)
        lease.hand_back()
        assert Audit(database, other, lambda: asking.catalog).round() == 2
        return commit(self, *change)

    monkeypatch.setattr(SqlCatalog, "commit_table", overtaken)
    assert Audit(database, lease, lambda: asking.catalog).round() == 2
    assert recorded(asking) == 2


def test_one_without_the_lease_records_nothing(
    asking: Asking, database: OwnTables, lease: Lease
) -> None:
    assert Audit(database, Lease(database, "commands"), lambda: asking.catalog).round() == 0
    assert recorded(asking) == 0
    assert Audit(database, lease, lambda: asking.catalog).round() == 2

"""The audit trail of commands, ``ops.commands``: a row for each whose message is in the log."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pyiceberg.catalog import Catalog
from sqlalchemy import Connection, update

from lakehouse.audit_trail import append_rows
from lakehouse.catalog_database import OwnTables
from serving.commands.lease import Lease
from serving.commands.store import WITH_MESSAGES, Command, read_command
from serving.commands.tables import OUTBOX, stored

TABLE: Final = "ops.commands"
# Rows of a commit.
MOST_AT_ONCE: Final = 500


class Audit:
    """Appends to the audit trail what it does not have yet."""

    def __init__(self, tables: OwnTables, lease: Lease, catalog: Callable[[], Catalog]) -> None:
        self._tables = tables
        self._lease = lease
        self._catalog = catalog

    def round(self) -> int:
        """Append commands that were sent, and return how many.

        Raises:
            CommandStoreError: The database does not answer.
            CommitFailedException: Others were quicker for the whole of a budget.
        """
        sent = self._tables.in_transaction(_to_be_recorded)
        if not sent or not self._lease.hold():
            return 0
        # Whoever was here before may have been killed between the commit and the mark, or be at it.
        append_rows(self._catalog(), TABLE, list(map(_row, sent)), once_by="command_id")
        now = stored(datetime.now(UTC))
        these = OUTBOX.c.command_id.in_([command.id for command in sent])
        marking = update(OUTBOX).where(these).values(audited_at=now)
        self._tables.in_transaction(lambda connection: connection.execute(marking))
        return len(sent)


def _to_be_recorded(connection: Connection) -> list[Command]:
    sent = (
        WITH_MESSAGES.where(OUTBOX.c.sent_at.is_not(None), OUTBOX.c.audited_at.is_(None))
        .order_by(OUTBOX.c.number)
        .limit(MOST_AT_ONCE)
    )
    return [read_command(connection, row) for row in connection.execute(sent).all()]


def _row(command: Command) -> dict[str, object]:
    request, sent = command.request, command.sent
    assert sent is not None  # noqa: S101 - only those that were sent are asked for
    return {
        "command_id": command.id,
        "kind": request.kind.value,
        "requested_by": request.requested_by,
        "idempotency_key": request.idempotency_key,
        "request": json.dumps(request.body),
        "trace_parent": request.trace_parent,
        "accepted_at": command.accepted_at,
        "sent_topic": sent.topic,
        "sent_partition": sent.partition,
        "sent_offset": sent.offset,
        "sent_at": command.sent_at,
        "recorded_at": datetime.now(UTC),
    }

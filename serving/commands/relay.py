"""The relay: from the outbox to the log, at least once, and of each key in order.

A message is marked as sent after the log has acknowledged it. Whoever is killed in between leaves
one that is sent again. A correction that came again after a newer one would undo that, so of each
key one message at a time is on its way: what is repeated is always the newest of its key.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, update

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import SETTLING_SECONDS, Dispatch, Message, Sent
from serving.commands.lease import Lease
from serving.commands.tables import OUTBOX, stored

# Keys whose messages are sent at once.
MOST_AT_ONCE = 500
# What is not acknowledged by then is tried again.
DELIVERY_SECONDS = 10.0
# So long is the lease to be held yet when messages are handed over: when it ends, nothing of them
# is on its way any more.
HELD_SECONDS = DELIVERY_SECONDS + 2 * SETTLING_SECONDS


class Relay:
    """Sends what waits in the outbox."""

    def __init__(self, tables: OwnTables, lease: Lease, dispatch: Dispatch[int]) -> None:
        self._tables = tables
        self._lease = lease
        self._dispatch = dispatch

    def round(self) -> int:
        """Send the next message of each key, and return how many were.

        Raises:
            DeliveryError: The log did not take a message; what it took is marked.
            LeaseLostError: Another relay has taken over, and sends them again.
            CommandStoreError: The database does not answer.
        """
        waiting = self._tables.in_transaction(_next_of_each_key)
        if not waiting or not self._lease.hold(HELD_SECONDS):
            return 0
        for number, message in waiting.items():
            self._dispatch.put(number, message)
        delivery = self._dispatch.deliver()
        self.mark(delivery.sent)
        if delivery.failure is not None:
            raise delivery.failure
        return len(delivery.sent)

    def mark(self, sent: Mapping[int, Sent]) -> None:
        """Mark messages as sent.

        Raises:
            LeaseLostError: Another relay has taken over, and sends them again.
            CommandStoreError: The database does not answer.
        """
        at = stored(datetime.now(UTC))

        def mark(connection: Connection) -> None:
            self._lease.fence(connection)
            for number, place in sent.items():
                where = {"sent_at": at, "partition": place.partition, "offset": place.offset}
                mine = (OUTBOX.c.number == number, OUTBOX.c.sent_at.is_(None))
                connection.execute(update(OUTBOX).where(*mine).values(where))

        self._tables.in_transaction(mark)


def _next_of_each_key(connection: Connection) -> dict[int, Message]:
    first = (
        select(func.min(OUTBOX.c.number))
        .where(OUTBOX.c.sent_at.is_(None))
        .group_by(OUTBOX.c.topic, OUTBOX.c.message_key)
    )
    ordered = select(OUTBOX).where(OUTBOX.c.number.in_(first)).order_by(OUTBOX.c.number)
    return {
        row.number: Message(
            row.topic,
            row.message_key,
            row.payload,
            headers={name: text.encode() for name, text in json.loads(row.headers).items()},
        )
        for row in connection.execute(ordered.limit(MOST_AT_ONCE))
    }

"""A lease: of several processes that do the same work, one does it at a time."""

import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, or_, update
from sqlalchemy.dialects import postgresql, sqlite

from lakehouse.catalog_database import OwnTables
from lakehouse.errors import LakehouseError
from serving.commands.tables import LEASES, stored

# Whoever is killed is replaced after so long. Clocks of machines that share a database may differ
# by what it is longer than anything that is done under it.
LEASE_SECONDS = 30.0


def boot_seconds() -> float:
    """Return the seconds since the machine was started, those that it slept included."""
    # Only Linux has this clock.
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseLostError(LakehouseError):
    """Another process has taken the work over."""


class Lease:
    """The right to do some work, until it is over or handed back."""

    def __init__(
        self,
        tables: OwnTables,
        name: str,
        *,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """Ask for nothing yet.

        Args:
            tables: Where leases are.
            name: The work.
            seconds: How long it is taken for.
            clock: Seconds, which never go back, and go on while the machine sleeps.
        """
        self._tables = tables
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self.holder = uuid.uuid4().hex
        self._ends = float("-inf")

    def hold(self, at_least: float = 0.0) -> bool:
        """Take the lease or prolong it if need be; tell whether it is held for so many seconds.

        One that is held at all is then held for half its length, unless the database is slow.

        Raises:
            CommandStoreError: The database does not answer.
        """
        if self._ends - self._clock() < max(at_least, self._seconds / 2):
            asked = self._clock()
            if not self._tables.in_transaction(self._take):
                self._ends = float("-inf")
                return False
            # Counted from before the question: the database may have been slow to answer it.
            self._ends = asked + self._seconds
        return self._ends - self._clock() >= at_least

    def hand_back(self) -> None:
        """Let others have it at once."""
        if self._ends > self._clock():
            ending = update(LEASES).where(*self._mine()).values(until=0)
            self._tables.in_transaction(lambda connection: connection.execute(ending))
        self._ends = float("-inf")

    def fence(self, connection: Connection) -> None:
        """Let a transaction go on only if nobody has taken the lease over; nobody will meanwhile.

        Raises:
            LeaseLostError: Somebody has.
        """
        same = update(LEASES).where(*self._mine()).values(holder=self.holder)
        if connection.execute(same).rowcount != 1:
            raise LeaseLostError(
                f"another process has taken over {self._name!r}: what was done last is done again"
            )

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return (LEASES.c.name == self._name, LEASES.c.holder == self.holder)

    def _take(self, connection: Connection) -> bool:
        now = datetime.now(UTC)
        until = stored(now + timedelta(seconds=self._seconds))
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        row = {"name": self._name, "holder": self.holder, "until": until}
        statement = (
            dialect.insert(LEASES)
            .values(row)
            .on_conflict_do_update(
                index_elements=[LEASES.c.name],
                set_={"holder": self.holder, "until": until},
                where=or_(LEASES.c.holder == self.holder, LEASES.c.until < stored(now)),
            )
        )
        return connection.execute(statement).rowcount == 1

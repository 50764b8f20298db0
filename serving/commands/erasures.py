"""Erasures that were asked for, carried out as sagas whose steps are on record in the database.

First goes the request's own message: nothing is destroyed before the log has it, so that whoever
else holds something of the customer learns of it. The steps are those of `lakehouse erase`.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, delete, insert, update

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Message
from lakehouse.kafka import ERASURES_TOPIC
from lakehouse.saga import Journal, Outcome, SagaRefusedError
from serving.commands.lease import Lease, LeaseLostError
from serving.commands.store import WITH_MESSAGES, Command, Kind, read_command
from serving.commands.tables import COMMANDS, OUTBOX, STEPS, stored

# A step's own retries have waited longer than a short outage already.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0

_log = structlog.get_logger(__name__)

Erase = Callable[[str, Journal], object]
"""Customer and journal: `lakehouse.privacy.erasure.erase` on a lake."""


def erasure_message(customer_id: str, headers: Mapping[str, bytes]) -> Message:
    """Return the message that tells of a request to forget a customer; JSON, keyed by customer."""
    payload = json.dumps({"customer_id": customer_id}).encode()
    return Message(ERASURES_TOPIC, customer_id.encode(), payload, headers=headers)


class Erasures:
    """Carries out the erasures whose requests are in the log."""

    def __init__(
        self,
        tables: OwnTables,
        lease: Lease,
        erase: Erase,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin nothing yet.

        Args:
            tables: Where commands and their steps are.
            lease: Who holds it carries them out.
            erase: Forgets a customer.
            clock: Seconds, which never go back.
        """
        self._tables = tables
        self._lease = lease
        self._erase = erase
        self._clock = clock
        self._waits: dict[str, _Wait] = {}

    def round(self) -> int:
        """Go on with each erasure that is not at its end; return how many got there.

        Raises:
            LeaseLostError: Another process has taken over, and goes on with them.
            CommandStoreError: The database does not answer.
        """
        found = self._tables.in_transaction(_not_at_their_end)
        return sum(self._carry_out(command) for command in found if self._is_due(command))

    def _carry_out(self, command: Command) -> bool:
        # Before each customer; what others begin after it, both may do to no harm.
        if not self._lease.hold():
            return False
        journal = StoredJournal(self._tables, self._lease, command)
        try:
            self._erase(command.request.body["customer_id"], journal)
        except SagaRefusedError as error:
            _log.warning("an erasure was refused", command=command.id, error=str(error))
        except LeaseLostError:
            raise
        except Exception as error:  # whatever a key store, a catalog or an object store raises
            _log.warning("an erasure is put off", command=command.id, error=str(error))
            self._put_off(command)
            return False
        self._end(command)
        return True

    def _is_due(self, command: Command) -> bool:
        wait = self._waits.get(command.id)
        return wait is None or self._clock() >= wait.until

    def _put_off(self, command: Command) -> None:
        before = self._waits.get(command.id)
        doubled = FIRST_WAIT_SECONDS if before is None else 2 * before.seconds
        seconds = min(doubled, LONGEST_WAIT_SECONDS)
        self._waits[command.id] = _Wait(seconds, self._clock() + seconds)

    def _end(self, command: Command) -> None:
        now = stored(datetime.now(UTC))
        ending = update(COMMANDS).where(COMMANDS.c.id == command.id).values(ended_at=now)

        def end(connection: Connection) -> None:
            self._lease.fence(connection)
            connection.execute(ending)

        self._tables.in_transaction(end)
        self._waits.pop(command.id, None)


class _Wait(NamedTuple):
    seconds: float
    until: float


class StoredJournal:
    """Keeps what became of the steps of a command, for whoever holds the lease."""

    def __init__(self, tables: OwnTables, lease: Lease, command: Command) -> None:
        self._tables = tables
        self._lease = lease
        self._command_id = command.id
        self._outcomes = {one.step: Outcome(one.outcome) for one in command.steps.values()}
        self._tries = {one.step: one.tries for one in command.steps.values()}

    def outcomes(self) -> Mapping[str, Outcome]:
        """Return what is on record, by step."""
        return self._outcomes

    def note(self, step: str, outcome: Outcome, detail: str | None = None) -> None:
        """Put on record what became of a step.

        Raises:
            LeaseLostError: Another process has taken over, and keeps the record.
            CommandStoreError: The database does not answer.
        """
        tries = self._tries.get(step, 0) + 1
        mine = (STEPS.c.command_id == self._command_id, STEPS.c.step == step)
        row = {
            "command_id": self._command_id,
            "step": step,
            "outcome": outcome,
            "tries": tries,
            "detail": detail,
            "at": stored(datetime.now(UTC)),
        }

        def replace(connection: Connection) -> None:
            self._lease.fence(connection)
            connection.execute(delete(STEPS).where(*mine))
            connection.execute(insert(STEPS).values(row))

        self._tables.in_transaction(replace)
        self._outcomes[step], self._tries[step] = outcome, tries


def _not_at_their_end(connection: Connection) -> list[Command]:
    sent = (
        WITH_MESSAGES.where(COMMANDS.c.kind == Kind.ERASURE, COMMANDS.c.ended_at.is_(None))
        .where(OUTBOX.c.sent_at.is_not(None))
        .order_by(OUTBOX.c.number)
    )
    return [read_command(connection, row) for row in connection.execute(sent).all()]

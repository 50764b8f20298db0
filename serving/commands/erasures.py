"""Erasures that were asked for, carried out as sagas whose steps are on record in the database.

First goes the request's own message: nothing is destroyed before the log has it, so that whoever
else holds something of the customer learns of it. The steps are those of `lakehouse erase`.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection, delete, insert, update

from lakehouse.catalog_database import OwnTables
from lakehouse.dispatch import Message
from lakehouse.kafka import ERASURES_TOPIC
from lakehouse.saga import Journal, Outcome, SagaRefusedError
from serving.commands.lease import Lease
from serving.commands.store import WITH_MESSAGES, Command, Kind, read_command
from serving.commands.tables import COMMANDS, OUTBOX, STEPS, stored

# A step's own retries have waited longer than a short outage already.
MOST_DOUBLINGS = 6  # of a second: a minute
# Taken anew before each customer; others may begin the same steps after it, to no harm.
HELD_SECONDS = 15.0

_log = structlog.get_logger(__name__)

Erase = Callable[[str, Journal], object]
"""Customer and journal: `lakehouse.privacy.erasure.erase` on a lake."""


def erasure_message(customer_id: str, headers: Mapping[str, bytes]) -> Message:
    """Return the message that tells of a request to forget a customer; JSON, keyed by customer."""
    payload = json.dumps({"customer_id": customer_id}).encode()
    return Message(ERASURES_TOPIC, customer_id.encode(), payload, headers=headers)


class Erasures:
    """Carries out the erasures whose requests are in the log."""

    def __init__(self, tables: OwnTables, lease: Lease, erase: Erase) -> None:
        self._tables = tables
        self._lease = lease
        self._erase = erase

    def round(self) -> int:
        """Go on with each erasure that is not at its end; return how many got there.

        Raises:
            CommandStoreError: The database does not answer.
        """
        return sum(map(self._carry_out, self._tables.in_transaction(_to_be_done)))

    def _carry_out(self, command: Command) -> bool:
        if not self._lease.hold(HELD_SECONDS):
            return False
        try:
            self._erase(command.request.body["customer_id"], StoredJournal(self._tables, command))
        except SagaRefusedError as error:
            _log.warning("an erasure was refused", command=command.id, error=str(error))
        except Exception as error:  # whatever a key store, a catalog or an object store raises
            _log.warning("a step of an erasure failed", command=command.id, error=str(error))
            return False
        self._end(command)
        return True

    def _end(self, command: Command) -> None:
        now = stored(datetime.now(UTC))
        ending = update(COMMANDS).where(COMMANDS.c.id == command.id).values(ended_at=now)
        self._tables.in_transaction(lambda connection: connection.execute(ending))


class StoredJournal:
    """Keeps what became of the steps of a command."""

    def __init__(self, tables: OwnTables, command: Command) -> None:
        self._tables = tables
        self._command_id = command.id
        self._outcomes = {one.step: Outcome(one.outcome) for one in command.steps.values()}
        self._tries = {one.step: one.tries for one in command.steps.values()}

    def outcomes(self) -> Mapping[str, Outcome]:
        """Return what is on record, by step."""
        return self._outcomes

    def note(self, step: str, outcome: Outcome, detail: str | None = None) -> None:
        """Put on record what became of a step."""
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
            connection.execute(delete(STEPS).where(*mine))
            connection.execute(insert(STEPS).values(row))

        self._tables.in_transaction(replace)
        self._outcomes[step], self._tries[step] = outcome, tries


def _to_be_done(connection: Connection) -> list[Command]:
    sent = (
        WITH_MESSAGES.where(COMMANDS.c.kind == Kind.ERASURE, COMMANDS.c.ended_at.is_(None))
        .where(OUTBOX.c.sent_at.is_not(None))
        .order_by(OUTBOX.c.number)
    )
    found = [read_command(connection, row) for row in connection.execute(sent).all()]
    return [command for command in found if _is_due(command)]


def _is_due(command: Command) -> bool:
    now = datetime.now(UTC)
    return all(
        now >= step.at + timedelta(seconds=2 ** min(step.tries, MOST_DOUBLINGS))
        for step in command.steps.values()
        if step.outcome == Outcome.FAILED
    )

"""The process that carries out commands: it sends their messages, erases, and keeps the record."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event

import structlog

from lakehouse.catalog import load_catalog
from lakehouse.delivery import DeadProducerError
from lakehouse.dispatch import Dispatch
from lakehouse.errors import first_line
from lakehouse.kafka import client_settings
from lakehouse.privacy.erasure import erase
from lakehouse.privacy.stores import key_store
from lakehouse.saga import Journal
from lakehouse.settings import Settings
from serving.commands.audit import Audit
from serving.commands.erasures import Erasures
from serving.commands.lease import Lease
from serving.commands.metrics import FAILED_ROUNDS, LEADS, tell_of_outbox
from serving.commands.relay import DELIVERY_SECONDS, HELD_SECONDS, Relay
from serving.commands.tables import CommandStoreError, command_tables

LEASE = "commands"
# Who asks for a correction looks for it seconds later; a look at an empty outbox costs a query.
POLL_SECONDS = 0.2
# After a failure there is nothing to be gained by haste.
PAUSE_SECONDS = 2.0
# A database server that is started anew is back within it.
BUDGET_SECONDS = 20.0

_log = structlog.get_logger(__name__)


class Worker:
    """Carries out commands; of several on one lake, one works and the others stand by."""

    def __init__(self, settings: Settings, *, log: Settings) -> None:
        """Connect to the log.

        Args:
            settings: Of a role that may erase, and write the audit trail.
            log: Of a role that may write to the log.

        Raises:
            BrokerUnavailableError: No broker answers.
            NotRunningError: There is none.
        """
        self._tables = command_tables(settings, budget_seconds=BUDGET_SECONDS)
        self._lease = Lease(self._tables, LEASE)
        dispatch = Dispatch[int].connect(
            client_settings(log), name="commands", timeout_seconds=DELIVERY_SECONDS
        )
        catalog, keys = partial(load_catalog, settings), key_store(settings)

        def erase_customer(customer_id: str, journal: Journal) -> object:
            return erase(keys, catalog(), customer_id, journal)

        self._rounds: dict[str, Callable[[], int]] = {
            "relay": Relay(self._tables, self._lease, dispatch).round,
            "erasures": Erasures(self._tables, self._lease, erase_customer).round,
            "audit": Audit(self._tables, self._lease, catalog).round,
        }

    def run(self, stop: Event, beat: Callable[[], None]) -> None:
        """Work until told to stop; another one works at once when this one ends.

        Args:
            stop: Set to end.
            beat: Called while all goes on, standing by included.

        Raises:
            DeadProducerError: It will send no more; a new process will.
        """
        try:
            while not stop.is_set():
                done = self._try_round(beat)
                if not done:
                    stop.wait(PAUSE_SECONDS if done is None else POLL_SECONDS)
        finally:
            self.close()

    def round(self) -> int | None:
        """Do what there is to do now; return how much was done, or None if something failed.

        Raises:
            DeadProducerError: It will send no more.
            CommandStoreError: The database does not answer.
        """
        # By whoever stands by, too: the one that leads may be what they wait for.
        self._tables.in_transaction(tell_of_outbox)
        leads = self._lease.hold(HELD_SECONDS)
        LEADS.set(leads)
        if not leads:
            return 0
        done: list[int | None] = [self._attempt(name) for name in self._rounds]
        return None if None in done else sum(filter(None, done))

    def close(self) -> None:
        """Let another one work at once."""
        with suppress(CommandStoreError):  # then it ends by itself
            self._lease.hand_back()
        self._tables.close()

    def _try_round(self, beat: Callable[[], None]) -> int | None:
        try:
            done = self.round()
        except DeadProducerError:
            raise
        except Exception as error:  # whatever a database raises that is away
            _log.warning("commands cannot be looked for", error=first_line(error))
            return None
        beat()
        return done

    def _attempt(self, name: str) -> int | None:
        # One that fails, since the log is away or a catalog, does not keep the others from it.
        try:
            return self._rounds[name]()
        except DeadProducerError:
            raise
        except Exception as error:
            FAILED_ROUNDS.labels(name).inc()
            _log.warning("a round failed", round=name, error=first_line(error))
            return None

"""How far a command has come: from the database, and for what comes after from the lake itself.

Where a correction is in the lake is nowhere written down. Bronze's progress says whether it was
landed, and the positions of its trade's rows which layer has taken it in: a row has seen all events
of its key up to its ``last_offset``. One that waits for its trade has changed nothing yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

import schemas
from lakehouse.dispatch import Sent
from lakehouse.errors import first_line
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.positions import LogPosition
from lakehouse.privacy.erasure import RECORD
from lakehouse.progress import read_progress
from lakehouse.saga import Outcome
from serving.commands.store import Command, Kind

BATCH, SPEED = "silver.trades", "silver.trades_rt"
DEAD_LETTERS = "bronze.dead_letters"
# Of a trade of which only corrections were seen, as its contract says.
UNMATCHED = "UNMATCHED"
MINUTE = timedelta(minutes=1)
# The clocks of who accepts and who lands may differ; dead letters are found by day.
CLOCKS_DIFFER = timedelta(hours=1)


class Status(StrEnum):
    """How far a command has come."""

    ACCEPTED = "accepted"
    SENT = "sent"
    LANDED = "landed"
    REFLECTED = "reflected"
    RECONCILED = "reconciled"
    ERASED = "erased"
    REFUSED = "refused"


FINAL = frozenset({Status.RECONCILED, Status.ERASED, Status.REFUSED})


@dataclass(frozen=True)
class Standing:
    """A status, and what there is to say about it.

    Attributes:
        detail: Why it was refused, or why it is not known how far it has come since.
    """

    status: Status
    detail: str | None = None


def standing(command: Command, catalog: Callable[[], Catalog]) -> Standing:
    """Tell how far a command has come.

    Args:
        command: As the database has it.
        catalog: Loads the lake's catalog.
    """
    if command.sent is None:
        return Standing(Status.ACCEPTED)
    if command.request.kind is Kind.ERASURE:
        return _of_erasure(command)
    try:
        return _of_correction(command, command.sent, catalog())
    except Exception as error:  # whatever a catalog or an object store raises that is away
        return Standing(Status.SENT, f"the lake cannot be asked at present: {first_line(error)}")


def _of_erasure(command: Command) -> Standing:
    for step in command.steps.values():
        if step.outcome == Outcome.REFUSED:
            return Standing(Status.REFUSED, step.detail)
    last = command.steps.get(RECORD)
    is_done = last is not None and last.outcome == Outcome.DONE
    return Standing(Status.ERASED if is_done else Status.SENT)


def _of_correction(command: Command, sent: Sent, catalog: Catalog) -> Standing:
    bronze = schemas.landed_topics()[TRADES_TOPIC]
    progress = read_progress(catalog.load_table(bronze))
    generation = 0 if progress is None else progress.generation
    position = LogPosition(generation, sent.offset).encode()
    # The speed layer's rows are pruned once batch has theirs: read in this order, none is missed.
    speed, batch = (_newest_position(catalog, table, command) for table in (SPEED, BATCH))
    if batch >= position:
        return Standing(Status.RECONCILED)
    if speed >= position:
        return Standing(Status.REFLECTED)
    if reason := _refusal(catalog, sent, generation, command.accepted_at - CLOCKS_DIFFER):
        return Standing(Status.REFUSED, reason)
    is_landed = progress is not None and progress.offsets.get(sent.partition, 0) > sent.offset
    return Standing(Status.LANDED if is_landed else Status.SENT)


def _newest_position(catalog: Catalog, table: str, command: Command) -> int:
    """Return the position up to which a layer's rows of the trade itself have seen; -1 for none."""
    asked = command.request.body
    minute = datetime.fromisoformat(asked["event_time"]).replace(second=0, microsecond=0)
    rows = catalog.load_table(table).scan(
        row_filter=(
            f"venue = '{asked['venue']}' and symbol = '{asked['symbol']}' "
            f"and trade_id = {asked['trade_id']} and state != '{UNMATCHED}' "
            f"and event_time >= '{minute.isoformat()}' "
            f"and event_time < '{(minute + MINUTE).isoformat()}'"
        ),
        selected_fields=("last_offset",),
    )
    newest = pc.max(rows.to_arrow()["last_offset"]).as_py()
    return -1 if newest is None else int(newest)


def _refusal(catalog: Catalog, sent: Sent, generation: int, since: datetime) -> str | None:
    letters = catalog.load_table(DEAD_LETTERS).scan(
        row_filter=(
            f"topic = '{sent.topic}' and topic_generation = {generation} "
            f"and kafka_partition = {sent.partition} and kafka_offset = {sent.offset} "
            f"and ingested_at >= '{since.isoformat()}'"
        ),
        selected_fields=("stage", "reason"),
    )
    found = letters.to_arrow().to_pylist()
    return f"{found[0]['stage']}: {found[0]['reason']}" if found else None

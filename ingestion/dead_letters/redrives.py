"""The audit trail of redrives, ``ops.redrives``: which dead letters had another try."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.table import DataScan

from ingestion.dead_letters.letters import PLACE, DeadLetter, both, one_of, place_of, quoted
from ingestion.dead_letters.lineage import Coordinates
from lakehouse.audit_trail import append_rows
from lakehouse.dispatch import Sent

TABLE: Final = "ops.redrives"


class Outcome(StrEnum):
    """What became of a dead letter that was given another try."""

    SENT = "SENT"
    IGNORED = "IGNORED"
    REFUSED = "REFUSED"


# Rows after which there is nothing left to do about a letter.
IS_SETTLED: Final = one_of("outcome", (Outcome.SENT, Outcome.IGNORED))


@dataclass(frozen=True)
class Redrive:
    """One try: a row of the audit trail."""

    redrive_id: str
    letter: DeadLetter
    attempt: int
    outcome: Outcome
    detail: str | None = None
    sent: Sent | None = None

    def row(self) -> dict[str, object]:
        """Return the row; its time is the present."""
        place, lineage = self.letter.place, self.letter.lineage
        if place is None or lineage is None:
            raise ValueError("a letter without coordinates is never redriven")
        return dict(zip(PLACE, place, strict=True)) | {
            "redrive_id": self.redrive_id,
            "stage": self.letter.stage,
            "reason": self.letter.reason,
            "refused_at": self.letter.refused_at,
            "origin": str(lineage.origin),
            "attempt": self.attempt,
            "outcome": self.outcome.value,
            "detail": self.detail,
            "sent_topic": self.sent.topic if self.sent else None,
            "sent_partition": self.sent.partition if self.sent else None,
            "sent_offset": self.sent.offset if self.sent else None,
            "redriven_at": datetime.now(UTC),
        }


@dataclass(frozen=True)
class History:
    """What is recorded of some dead letters and of those that they go back to.

    Attributes:
        settled: Letters that were redriven, or need not be.
        attempts: By origin, how often it was sent again.
    """

    settled: frozenset[Coordinates]
    attempts: Counter[Coordinates]


class Redrives:
    """Reads and appends to the audit trail."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def scan(self, rows: str, *columns: str) -> DataScan:
        """Return a scan of some rows; of all columns when none is named."""
        table = self._catalog.load_table(TABLE)
        return table.scan(row_filter=rows, selected_fields=columns or ("*",))

    def history(self, origins: Iterable[Coordinates], *, but: str) -> History:
        """Return what runs other than ``but`` have done about letters of some origins."""
        if not (texts := list(map(str, origins))):
            return History(frozenset(), Counter())
        wanted = both(one_of("origin", texts), IS_SETTLED, f"redrive_id != {quoted(but)}")
        rows = self.scan(wanted, *PLACE, "origin", "outcome").to_arrow().to_pylist()
        attempts = Counter(
            Coordinates.parse(row["origin"]) for row in rows if row["outcome"] == Outcome.SENT
        )
        return History(frozenset(place for row in rows if (place := place_of(row))), attempts)

    def of_letter(self, letter: DeadLetter) -> list[dict[str, Any]]:
        """Return the rows about a letter and its relatives, in the order of time."""
        if letter.lineage is None:
            return []
        rows = self.scan(one_of("origin", [str(letter.lineage.origin)])).to_arrow().to_pylist()
        return sorted(rows, key=lambda row: row["redriven_at"])

    def append(self, redrives: Sequence[Redrive]) -> None:
        """Append what was done, in one commit."""
        append_rows(self._catalog, TABLE, [redrive.row() for redrive in redrives])

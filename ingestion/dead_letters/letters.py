"""Reads ``bronze.dead_letters``: only the rows that are asked for, payloads only where needed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from pyiceberg.catalog import Catalog
from pyiceberg.table import DataScan

from ingestion.dead_letters.lineage import Coordinates, Lineage

TABLE: Final = "bronze.dead_letters"
PLACE: Final = ("topic", "topic_generation", "kafka_partition", "kafka_offset")
# A filter that always holds and may stand within others, which PyIceberg's "true" may not.
EVERY_ROW: Final = "topic is not null"
# PyIceberg passes over files by a set of values only if it has at most so many; and so many
# payloads of the largest size still fit into a small machine's memory.
PAGE_LETTERS: Final = 200


@dataclass(frozen=True)
class Selection:
    """Which dead letters are meant; what is None or empty does not restrict.

    Attributes:
        topic: Topic that they were read from.
        stage: Who refused them.
        reason: Why.
        since: First time of refusal (``ingested_at``, UTC).
        until: Time of refusal before which they were, UTC.
        places: Where they stand in the log.
    """

    topic: str | None = None
    stage: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    places: tuple[Coordinates, ...] = ()

    def row_filter(self, time: str = "ingested_at") -> str:
        """Return the rows that are meant, of a table whose column ``time`` has the refusal."""
        wanted = {"topic": self.topic, "stage": self.stage, "reason": self.reason}
        terms = [f"{name} = {quoted(text)}" for name, text in wanted.items() if text is not None]
        if self.since is not None:
            terms.append(f"{time} >= '{self.since.isoformat()}'")
        if self.until is not None:
            terms.append(f"{time} < '{self.until.isoformat()}'")
        if self.places:
            terms.append(at(self.places))
        return both(*terms) if terms else EVERY_ROW


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter.

    Attributes:
        place: Where it stands in the log; None when it never reached it.
        refused_at: When it was refused, UTC.
        logged_at: Timestamp of the message in the log, UTC.
        payload: The refused bytes; None when there were none, or they were not kept.
    """

    place: Coordinates | None
    stage: str
    reason: str
    detail: str | None
    source: str | None
    refused_at: datetime
    logged_at: datetime | None
    key: bytes | None
    payload: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "DeadLetter":
        """Return the dead letter of a row of the table."""
        return cls(
            place=place_of(row),
            stage=row["stage"],
            reason=row["reason"],
            detail=row["detail"],
            source=row["source"],
            refused_at=row["ingested_at"],
            logged_at=row["kafka_timestamp"],
            key=row["message_key"],
            payload=row["payload"],
            headers={name: value or b"" for name, value in row["headers"] or ()},
        )

    @property
    def lineage(self) -> Lineage | None:
        """What it goes back to; None when it never reached the log."""
        return Lineage.of(self.place, self.headers) if self.place else None


class DeadLetters:
    """Reads dead letters."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def scan(self, rows: str, *columns: str) -> DataScan:
        """Return a scan of some rows; of all columns when none is named."""
        # The newest snapshot each time: an older one may be expired during a long run.
        table = self._catalog.load_table(TABLE)
        return table.scan(row_filter=rows, selected_fields=columns or ("*",))

    def pages(self, selection: Selection) -> Iterator[list[DeadLetter]]:
        """Yield the selected letters in the order of the log, a page at a time.

        Letters are selected once: what is refused while the pages are read is not among them.
        In memory are the coordinates of all of them and one page of payloads. Letters that never
        reached the log come first.
        """
        wanted = selection.row_filter()
        columns = self.scan(wanted, *PLACE).to_arrow()
        placed = columns.drop_null()
        if len(placed) < len(columns):
            yield from self._unplaced(wanted)
        places = placed.group_by(list(PLACE)).aggregate([])
        places = places.sort_by([(name, "ascending") for name in PLACE])
        for page in places.to_batches(max_chunksize=PAGE_LETTERS):
            yield self._at([Coordinates(*row.values()) for row in page.to_pylist()], wanted)

    def newest(self, selection: Selection, limit: int) -> list[DeadLetter]:
        """Return the selected letters that were refused last, the newest first."""
        wanted = selection.row_filter()
        rows = self.scan(wanted, *PLACE, "ingested_at").to_arrow()
        order = [("ingested_at", "descending"), *((name, "descending") for name in PLACE)]
        newest = rows.sort_by(order).slice(0, limit).to_pylist()
        found = self._at([place for row in newest if (place := place_of(row))], wanted)
        if times := [row["ingested_at"] for row in newest if place_of(row) is None]:
            since = f"ingested_at >= '{min(times).isoformat()}'"
            found += [letter for page in self._unplaced(both(wanted, since)) for letter in page]
        return sorted(found, key=lambda letter: letter.refused_at, reverse=True)[:limit]

    def _at(self, places: Sequence[Coordinates], wanted: str) -> list[DeadLetter]:
        if not places:
            return []
        rows = self.scan(both(wanted, at(places))).to_arrow().to_pylist()
        found = {place_of(row): DeadLetter.of_row(row) for row in rows}
        # A maintenance job may have removed one meanwhile.
        return [found[place] for place in places if place in found]

    def _unplaced(self, wanted: str) -> Iterator[list[DeadLetter]]:
        nowhere = " or ".join(f"{name} is null" for name in PLACE[1:])
        for page in self.scan(both(wanted, nowhere)).to_arrow_batch_reader():
            yield [DeadLetter.of_row(row) for row in page.to_pylist()]


def place_of(row: Mapping[str, Any]) -> Coordinates | None:
    """Return the coordinates of a row that has such columns; None when it has no place."""
    topic, generation, partition, offset = (row[name] for name in PLACE)
    if generation is None or partition is None or offset is None:
        return None
    return Coordinates(topic, generation, partition, offset)


def at(places: Iterable[Coordinates]) -> str:
    """Return the filter of rows at some places; in a form that passes over files."""
    found = []
    for (topic, generation, partition), group in groupby(sorted(places), key=lambda p: p[:3]):
        offsets = [place.offset for place in group]
        found.append(
            both(
                f"topic = {quoted(topic)}",
                f"topic_generation = {generation}",
                f"kafka_partition = {partition}",
                f"kafka_offset >= {offsets[0]}",
                f"kafka_offset <= {offsets[-1]}",
                f"kafka_offset in ({', '.join(map(str, offsets))})",
            )
        )
    return " or ".join(f"({here})" for here in found)


def both(*terms: str) -> str:
    """Return the filter of rows for which all of some filters hold."""
    return " and ".join(f"({term})" for term in terms)


def one_of(column: str, texts: Iterable[str]) -> str:
    """Return the filter of rows whose column has one of some texts."""
    return f"{column} in ({', '.join(map(quoted, texts))})"


def quoted(text: str) -> str:
    """Return a text as a filter writes it."""
    return "'" + text.replace("'", "''") + "'"

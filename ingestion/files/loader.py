"""Loads one file: judges it, writes its rows and its dead letters, records it, moves it away.

A file is moved away last. Killed at any moment before, the next start finds it again, by its
checksum sees what was done, and does the rest.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import structlog
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, EqualTo, Reference
from pyiceberg.expressions.literals import literal

from ingestion.files import metrics
from ingestion.files.drop_folder import UNKNOWN, Arrival, DropFolder
from ingestion.files.formats import open_rows
from ingestion.files.judgement import BreakingDriftError, Header, judge
from ingestion.files.loads import FileLoad, FileLog, Status
from ingestion.files.once import Chunks, append_once
from ingestion.files.rows import BadRow, RowSource, UnreadableFileError
from lakehouse.errors import LakehouseError
from schemas import FileDataset, file_datasets

DEAD_LETTERS: Final = "bronze.dead_letters"
STAGE: Final = "files"
# Rows that are in memory at a time; some tens of megabytes.
CHUNK_ROWS: Final = 50_000
# A row that is longer than any event may be is a file that was cut wrongly; its beginning tells.
MAX_PAYLOAD_BYTES: Final = 1_000_000

log = structlog.get_logger(__name__)


class FileChangedError(LakehouseError):
    """Somebody wrote to a file while it was being loaded; it is looked at again later."""


def utc_now() -> datetime:
    """Return the present, UTC."""
    return datetime.now(UTC)


class FileLoader:
    """Loads the files of one drop folder into one lake.

    Args:
        catalog: The catalog named ``lake``, with the tables in it.
        folder: Where files lie, and where they go.
        clock: Tells the time, UTC.
        chunk_rows: Rows that are in memory at a time.
        beat: Called as work goes on.
    """

    def __init__(
        self,
        catalog: Catalog,
        folder: DropFolder,
        *,
        clock: Callable[[], datetime] = utc_now,
        chunk_rows: int = CHUNK_ROWS,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalog = catalog
        self._folder = folder
        self._clock = clock
        self._chunk_rows = chunk_rows
        self._beat = beat
        self._log = FileLog(catalog, clock)

    def load(self, path: Path) -> FileLoad | None:
        """Load a file, or refuse it, or find that its bytes were loaded before.

        Returns:
            The verdict; None when somebody else has taken the file, or when all that was left to
            do was to move it.

        Raises:
            FileChangedError: It was written to meanwhile; nothing was loaded.
        """
        with self._folder.exclusive():
            return self._load(path) if path.exists() else None

    def drop(self, source: Path, dataset: str) -> FileLoad | None:
        """Put a copy of a file into the folder and load it, before anybody else can take it.

        Returns:
            As `load` does.

        Raises:
            ingestion.files.drop_folder.NameTakenError: Another file of that name waits there.
        """
        with self._folder.exclusive():
            return self._load(self._folder.place(source, dataset))

    def _load(self, path: Path) -> FileLoad | None:
        arrival = self._folder.arrival(path)
        name = self._log.loaded_as(arrival.dataset, arrival.checksum)
        if name == arrival.name and not self._folder.keeps(arrival, name):
            self._folder.keep(arrival)
            return None
        if name is not None:
            verdict = self._verdict(arrival, Status.DUPLICATE, detail=f"of {name}")
        else:
            verdict = self._judged(arrival)
        self._log.record(verdict)
        if verdict.status is Status.REFUSED:
            self._folder.refuse(arrival, verdict.detail or "")
        else:
            self._folder.keep(arrival)
        metrics.count(verdict)
        log.info(
            "file",
            file=arrival.name,
            status=verdict.status.value,
            rows=verdict.rows_loaded,
            refused=verdict.rows_refused,
        )
        return verdict

    def _judged(self, arrival: Arrival) -> FileLoad:
        try:
            dataset = _dataset(arrival)
            rows = open_rows(arrival.path, dataset)
            header = judge(dataset, rows)
            loaded, bad = self._write_rows(arrival, dataset, rows, header)
            refused = self._write_dead_letters(arrival, rows, header) if bad != 0 else 0
        except (BreakingDriftError, UnreadableFileError) as refusal:
            return self._verdict(
                arrival, Status.REFUSED, detail=f"{type(refusal).__name__}: {refusal}"
            )
        return self._verdict(
            arrival,
            Status.LOADED,
            rows_loaded=loaded,
            rows_refused=refused,
            drift=header.added,
        )

    def _write_rows(
        self, arrival: Arrival, dataset: FileDataset, rows: RowSource, header: Header
    ) -> tuple[int, int | None]:
        """Write the good rows; return how many there are, and how many are bad.

        Nobody knows how many are bad if the good ones were there already.
        """
        schema = self._catalog.load_table(dataset.table).schema().as_arrow()
        bad: int | None = None

        def kept(now: datetime) -> Iterator[dict[str, Any]]:
            nonlocal bad
            bad = 0
            same = {
                "dataset": dataset.name,
                "file_name": arrival.name,
                "checksum": arrival.checksum,
                "ingested_at": now,
            }
            for row in rows:
                said = row if isinstance(row, BadRow) else header.bronze(row)
                if isinstance(said, BadRow):
                    bad += 1
                else:
                    yield same | {"line_number": row.line, "row_json": said}

        known = f"checksum = '{arrival.checksum}'"
        loaded = self._append(
            dataset.table, arrival, known, lambda now: self._in_chunks(kept(now), schema)
        )
        return loaded, bad

    def _write_dead_letters(self, arrival: Arrival, rows: RowSource, header: Header) -> int:
        schema = self._catalog.load_table(DEAD_LETTERS).schema().as_arrow()
        key, topic = arrival.checksum.encode(), f"files.{arrival.dataset}"

        def refused(now: datetime) -> Iterator[dict[str, Any]]:
            same = {
                "topic": topic,
                "stage": STAGE,
                "message_key": key,
                "ingested_at": now,
            }
            for row in rows:
                said = row if isinstance(row, BadRow) else header.bronze(row)
                if isinstance(said, BadRow):
                    yield same | {
                        "reason": said.reason,
                        "detail": said.detail,
                        "source": f"{arrival.name}:{said.line}",
                        "payload": said.raw[:MAX_PAYLOAD_BYTES],
                    }

        # A filter in words knows no bytes.
        known = And(
            EqualTo(term=Reference("stage"), value=literal(STAGE)),
            EqualTo(term=Reference("topic"), value=literal(topic)),
            EqualTo(term=Reference("message_key"), value=literal(key)),
        )
        return self._append(
            DEAD_LETTERS, arrival, known, lambda now: self._in_chunks(refused(now), schema)
        )

    def _append(
        self,
        table: str,
        arrival: Arrival,
        known: str | BooleanExpression,
        chunks: Chunks,
    ) -> int:
        def of_one_file(now: datetime) -> Iterator[pa.Table]:
            see_that_it_is_unchanged(arrival)
            yield from chunks(now)
            see_that_it_is_unchanged(arrival)

        return append_once(
            self._catalog,
            table,
            known=known,
            chunks=of_one_file,
            clock=self._clock,
            summary={"lakehouse.file.checksum": arrival.checksum},
        )

    def _in_chunks(self, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
        chunk: list[dict[str, Any]] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == self._chunk_rows:
                self._beat()
                yield pa.Table.from_pylist(chunk, schema=schema)
                chunk = []
        if chunk:
            yield pa.Table.from_pylist(chunk, schema=schema)

    def _verdict(self, arrival: Arrival, status: Status, **found: Any) -> FileLoad:
        return FileLoad(
            arrival.dataset,
            arrival.name,
            arrival.checksum,
            arrival.state.size,
            status,
            **found,
        )


def _dataset(arrival: Arrival) -> FileDataset:
    if arrival.dataset == UNKNOWN:
        raise UnreadableFileError(
            "unknown_dataset",
            f"neither its folder nor its name says what it holds: {', '.join(file_datasets())}",
        )
    return file_datasets()[arrival.dataset]


def see_that_it_is_unchanged(arrival: Arrival) -> None:
    """See that what is read is still what the checksum was taken of.

    Raises:
        FileChangedError: It is not.
    """
    if not arrival.is_unchanged():
        raise FileChangedError(f"{arrival.path} was written to while it was being loaded")

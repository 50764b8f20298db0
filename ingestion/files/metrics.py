"""What the loader and the watcher of files count; docs/metrics.md has a line on each."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from ingestion.files.loads import FileLoad, Status

TAKEN = Counter("lakehouse_files_taken", "Files dealt with.", ["dataset", "status"])
BYTES = Counter("lakehouse_files_bytes", "Size of the files dealt with.", ["dataset"])
ROWS = Counter("lakehouse_files_rows", "Rows of files loaded in bronze.", ["dataset"])
DEAD_LETTERS = Counter("lakehouse_files_dead_letters", "Rows of files refused.", ["dataset"])
WAITING = Gauge(
    "lakehouse_files_waiting",
    "Files in the drop folder: settling, unfinished by their name, or left as they cannot be read.",
    ["state"],
)
SETTLING: Final = "settling"
UNFINISHED: Final = "unfinished"
LEFT: Final = "left"


def begin(datasets: Iterable[str]) -> None:
    """Count from 0 on: an increase is seen only of what was there before."""
    for dataset in datasets:
        for status in Status:
            TAKEN.labels(dataset=dataset, status=status.value)
        BYTES.labels(dataset=dataset)
        ROWS.labels(dataset=dataset)
        DEAD_LETTERS.labels(dataset=dataset)


def count(verdict: FileLoad) -> None:
    """Count a file and its rows."""
    TAKEN.labels(dataset=verdict.dataset, status=verdict.status.value).inc()
    BYTES.labels(dataset=verdict.dataset).inc(verdict.size_bytes)
    ROWS.labels(dataset=verdict.dataset).inc(verdict.rows_loaded)
    DEAD_LETTERS.labels(dataset=verdict.dataset).inc(verdict.rows_refused)


def show_waiting(*, settling: int, unfinished: int, left: int) -> None:
    """Show what a look has found and not dealt with."""
    for state, number in ((SETTLING, settling), (UNFINISHED, unfinished), (LEFT, left)):
        WAITING.labels(state=state).set(number)

"""What one DAG tells the others of: the hours that are done, the files that have arrived."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetWatcher
from lakehouse_files import DropFolderTrigger

HOUR = timedelta(hours=1)
KEY = "%Y-%m-%dT%H:%M:%S"

# Its partitions are hours of ingestion, UTC, by their start: 2024-08-09T00:00:00.
RECONCILED_HOURS = Asset("reconciled_hours")
DROP_FOLDER = Asset(
    "drop_folder", watchers=[AssetWatcher(name="settled_files", trigger=DropFolderTrigger())]
)


def hours_done(start: str, end: str, first: datetime) -> list[str]:
    """Return the hours that are done when a window of ingestion is, as partitions.

    Nothing is to be done about the hours before the very first one. With it the earlier ones of
    its day are done, too; or else that day would never be.

    Args:
        start: Of the window, ISO 8601, with a zone.
        end: Of the window, likewise.
        first: The start of the first hour that is processed by schedule.
    """
    begin, stop = (datetime.fromisoformat(text).astimezone(UTC) for text in (start, end))
    hour = begin.replace(minute=0, second=0, microsecond=0)
    hour = hour if hour == begin else hour + HOUR
    if hour == first:
        hour = hour.replace(hour=0)
    done = []
    while hour + HOUR <= stop:
        done.append(hour.strftime(KEY))
        hour += HOUR
    return done

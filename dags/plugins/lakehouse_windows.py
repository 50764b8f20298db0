"""The window of ingestion time that a run of a DAG is about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# What `datetime.fromisoformat` reads, so far as a person writes it or a calendar does.
TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?$"


class WindowError(AirflowFailException):
    """A window that cannot be meant, at this try or another."""


def window_params() -> dict[str, Param]:
    """Return the params of a DAG whose window may be given by hand."""
    described = "of the window of ingestion time, UTC; left out where a schedule gives it."
    return {name: time_param(f"{name} {described}", required=False) for name in ("start", "end")}


def time_param(description: str, *, required: bool = True) -> Param:
    """Return a param that is a time, ISO 8601."""
    # Nothing checks the format: it is for the form, which shows a calendar.
    said = {"pattern": TIME, "format": "date-time", "description": description}
    if required:
        return Param(type="string", **said)
    return Param(None, type=["null", "string"], **said)


def window_of(params: Mapping[str, Any], run: Any) -> dict[str, str]:
    """Return the window of a run: that of its params, or else its data interval.

    Args:
        params: May have ``start`` and ``end``, ISO 8601; without a zone they are UTC.
        run: The run, with ``data_interval_start`` and ``data_interval_end``.

    Returns:
        ``start`` and ``end``, ISO 8601, UTC.

    Raises:
        WindowError: It has neither, or one of them only, or ends before it starts, or one of them
            is no time.
    """
    given = [params.get("start"), params.get("end")]
    if any(given) and not all(given):
        raise WindowError("of start and end, give both or none")
    times = (
        [_time(text) for text in given]
        if all(given)
        else [run.data_interval_start, run.data_interval_end]
    )
    if None in times:
        raise WindowError("this run has no data interval: give start and end")
    start, end = times
    if start >= end:
        raise WindowError(f"the window starts at {start} and ends before, at {end}")
    return {"start": _utc(start).isoformat(), "end": _utc(end).isoformat()}


def day_of(text: str | None) -> dict[str, str]:
    """Return the window of a day, midnight to midnight, UTC.

    Args:
        text: The day, ISO 8601.

    Returns:
        As `window_of`.

    Raises:
        WindowError: There is none.
    """
    if not text:
        raise WindowError("no hours have told of a day: give day")
    start = _time(text)
    return {"start": start.isoformat(), "end": (start + DAY).isoformat()}


def hour_of(text: str) -> dict[str, str]:
    """Return the window of an hour.

    Args:
        text: Its start, ISO 8601; without a zone it is UTC.

    Returns:
        As `window_of`.

    Raises:
        WindowError: It is no time.
    """
    start = _time(text)
    return {"start": start.isoformat(), "end": (start + HOUR).isoformat()}


def _time(text: str | None) -> datetime:
    try:
        return _utc(datetime.fromisoformat(text or ""))
    except ValueError as error:
        raise WindowError(f"{text!r} is no time: {error}") from error


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

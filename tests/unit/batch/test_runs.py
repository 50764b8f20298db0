"""The run log: what it says of a run, whatever the clock did meanwhile."""

from datetime import UTC, datetime, timedelta, tzinfo

import pytest

import schemas
from batch.runs import RUNS, Run, RunLog, Status
from lakehouse.catalog import load_catalog
from lakehouse.intervals import Interval
from lakehouse.settings import Settings
from schemas import tables

NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Earlier(datetime):
    """A clock that was set back by an hour."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - HOUR


@pytest.mark.parametrize("end", [Status.PUBLISHED, Status.FAILED])
def test_a_run_that_has_ended_did_so_also_by_a_clock_that_stepped_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, end: Status
) -> None:
    catalog = load_catalog(settings)
    tables.apply(catalog, [schemas.contract(RUNS)])
    runs, run = RunLog(catalog), Run("batch", "trades", Interval(NOON, NOON + HOUR), ())
    runs.record(run, Status.STARTED)
    monkeypatch.setattr("batch.runs.datetime", Earlier)
    runs.record(run, end)
    (newest,) = runs.newest("batch", "trades")
    assert (newest.run.run_id, newest.status) == (run.run_id, end)
    assert runs.reach("batch", "trades", end) == NOON + HOUR

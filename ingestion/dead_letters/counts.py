"""How many dead letters there are, by day and cause, and how many of them were redriven."""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import pyarrow as pa
from pyiceberg.catalog import Catalog

from ingestion.dead_letters.letters import PLACE, DeadLetters, Selection, both
from ingestion.dead_letters.redrives import IS_SETTLED, Redrives


class _Cause(NamedTuple):
    day: date
    topic: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Count:
    """Dead letters of one day and cause.

    Attributes:
        day: UTC day of the refusal.
        letters: How many were refused.
        redriven: How many of these were redriven; what was refused again counts anew.
    """

    day: date
    topic: str
    stage: str
    reason: str
    letters: int
    redriven: int


def count(catalog: Catalog, selection: Selection) -> list[Count]:
    """Count dead letters, the newest day first; no payload is read."""
    letters: Counter[_Cause] = Counter()
    rows = DeadLetters(catalog).scan(
        selection.row_filter(), "topic", "stage", "reason", "ingested_at"
    )
    for batch in rows.to_arrow_batch_reader():
        letters.update(_by_cause(pa.Table.from_batches([batch]), "ingested_at"))
    settled = both(selection.row_filter("refused_at"), IS_SETTLED)
    # A letter may have been redriven more than once, deliberately.
    columns = (*PLACE, "stage", "reason", "refused_at")
    tries = Redrives(catalog).scan(settled, *columns).to_arrow()
    redriven = _by_cause(tries.group_by(list(columns)).aggregate([]), "refused_at")
    return [
        Count(*cause, letters=number, redriven=redriven[cause])
        for cause, number in sorted(letters.items(), key=lambda found: _newest_first(found[0]))
    ]


def _by_cause(rows: pa.Table, time: str) -> Counter[_Cause]:
    days = rows.append_column("day", rows[time].cast(pa.date32()))
    found = days.group_by(list(_Cause._fields)).aggregate([([], "count_all")]).to_pylist()
    return Counter(
        {_Cause(*(row[name] for name in _Cause._fields)): row["count_all"] for row in found}
    )


def _newest_first(cause: _Cause) -> tuple[int, str, str, str]:
    return (-cause.day.toordinal(), *cause[1:])

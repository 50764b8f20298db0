"""The third tier's turn in the merge: the live tier's rows over a page of the merged view.

By the views' own rule: of two rows for a key the one that has seen more of the log wins, on a tie
the table's, and a row of which nothing is left that counts is hidden after that, not before. Views
have hidden theirs already. So with a page goes what it hides: a live row that has seen less must
not bring back what was cancelled.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import structlog

from serving.api.answers import Answer
from serving.api.asking import Ask
from serving.api.live import LiveRows, arrow_schema, asked_rows, is_running, typed_row
from serving.api.paging import Place, cursor_after, order_columns
from serving.api.partitions import Partitions
from serving.api.relations import LAST_OFFSET
from serving.live.relations import LiveRow

_log = structlog.get_logger(__name__)


def may_take_live(ask: Ask) -> bool:
    """Tell whether live rows may take part in what is asked for.

    Not in the past; nor where a view joins what the live tier does not know: a position's mark is
    another key's value.
    """
    relation = ask.relation
    is_known = relation.live is not None and not relation.added
    return is_known and ask.tier == "merged" and ask.as_of is None


def with_live(live: LiveRows, ask: Ask, page: Answer, partitions: Partitions) -> Answer:
    """Return a page with what the live tier has seen beyond it; not on the loop, it takes its time.

    What then exceeds the limit is the next page's. While the live tier is away the page is as it
    was.

    Args:
        live: The live tier's rows.
        ask: What was asked for, which they may take part in.
        page: As the engine found it: all rows from the cursor to its last one, or to the end.
        partitions: Remembers which partition the rows of a key come from.
    """
    name = str(ask.relation.live)
    if not is_running(live, name):
        return page
    age = _freshness(live, ask, name)
    newer = _newer(live, ask, page)
    try:
        found = _merged(ask, page, newer, partitions) if newer else page
    except (ArithmeticError, TypeError, ValueError) as error:
        # The tables' rows are none the worse for a live one that fits no column.
        _log.warning("live rows take no part", relation=name, error=str(error))
        return page
    return replace(found, meta=found.meta.model_copy(update={"freshness_seconds": age}))


def hidden_through(ask: Ask, tombstones: pa.Table) -> dict[Place, int]:
    """Return, by key, the log position up to which nothing is left of it that counts.

    Args:
        ask: What was asked for.
        tombstones: What `serving.api.query.tombstone_query` found.
    """
    positions = tombstones[LAST_OFFSET].to_pylist()
    return dict(zip(_places(ask, tombstones), positions, strict=True))


def _newer(live: LiveRows, ask: Ask, page: Answer) -> dict[Place, LiveRow]:
    """Return the live rows that have seen more than the page, tombstones too."""
    told = dict(asked_rows(live, ask))
    if not told:
        return {}
    seen = dict(zip(_places(ask, page.rows), page.rows[LAST_OFFSET].to_pylist(), strict=True))
    last = None if page.next is None else max(seen)
    known = {**page.hidden, **seen}
    return {
        place: row
        for place, row in told.items()
        if row.last_offset > known.get(place, -1) and (last is None or place <= last)
    }


def _merged(
    ask: Ask, page: Answer, newer: Mapping[Place, LiveRow], partitions: Partitions
) -> Answer:
    relation = ask.relation
    is_kept = [place not in newer for place in _places(ask, page.rows)]
    kept = page.rows.filter(pa.array(is_kept, pa.bool_()))
    rows = [typed_row(ask, row) for row in newer.values() if not row.is_tombstone]
    added = pa.Table.from_pylist(rows, arrow_schema(relation.columns)).cast(kept.schema)
    order = [(name, "ascending") for name in order_columns(relation)]
    found = pa.concat_tables([kept, added]).sort_by(order)
    cut, after = found.slice(0, ask.limit), page.next
    if cut.num_rows < found.num_rows:
        after = cursor_after(ask, cut.slice(ask.limit - 1).to_pylist()[0])
    partitions.learn(relation, [(row.values, row.log_partition) for row in newer.values()])
    said = {
        "offsets": partitions.offsets(relation, cut),
        "status": dict(Counter(cut["status"].to_pylist())),
    }
    return replace(page, rows=cut, next=after, meta=page.meta.model_copy(update=said))


def _freshness(live: LiveRows, ask: Ask, name: str) -> float | None:
    """Return how old an event of the minutes that the live tier holds is at most, if it is missing.

    Returns:
        Seconds; None where all minutes that are asked for are older than those.
    """
    forgotten = live.whole_after(name)
    is_past = forgotten is not None and isinstance(ask.end, datetime) and ask.end <= forgotten
    return None if is_past else live.age_seconds(name)


def _places(ask: Ask, rows: pa.Table) -> list[Place]:
    columns = [rows[name].to_pylist() for name in order_columns(ask.relation)]
    return list(zip(*columns, strict=True))

"""The third tier's turn in the merge: the live tier's rows over a page of the merged view.

By the views' own rule: of two rows for a key the one that has seen more of the log wins, on a tie
the table's, and a row of which nothing is left that counts is hidden after that, not before. Views
have hidden theirs already. So of a key that a page lacks the tables are asked whether it is hidden:
a live row that has seen less must not come back.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, TypeGuard

import pyarrow as pa

from serving.api.answers import Answer
from serving.api.asking import Ask
from serving.api.live import LiveRows, arrow_schema, asked_rows, is_running, typed_row
from serving.api.paging import Place, cursor_after, order_columns
from serving.api.relations import LAST_OFFSET
from serving.live.relations import LiveRow


def takes_live(live: LiveRows | None, ask: Ask) -> TypeGuard[LiveRows]:
    """Tell whether live rows take part in what is asked for.

    Not in the past, nor while the live tier is away; nor where a view joins what it does not know:
    a position's mark is another key's value.
    """
    relation = ask.relation
    if live is None or relation.live is None or relation.added:
        return False
    return ask.tier == "merged" and ask.as_of is None and is_running(live, relation.live)


class Newer(NamedTuple):
    """Live rows, by their place in the order.

    Attributes:
        of_page: Those that have seen more than the page's own.
        lacking: Those of keys that the page lacks.
    """

    of_page: dict[Place, LiveRow]
    lacking: dict[Place, LiveRow]


def newer_rows(live: LiveRows, ask: Ask, page: Answer) -> Newer:
    """Return the live rows that have seen more than a page; takes its time, so not on the loop.

    Args:
        live: The live tier's rows.
        ask: What was asked for.
        page: As the engine found it: all rows from the cursor to its last one, or to the end.
    """
    seen = _seen(ask, page.rows)
    last = None if page.next is None else max(seen)
    found = Newer({}, {})
    for place, row in asked_rows(live, ask):
        if place not in seen and (last is None or place <= last):
            found.lacking[place] = row
        elif place in seen and row.last_offset > seen[place]:
            found.of_page[place] = row
    return found


def hidden_rows(ask: Ask, tombstones: pa.Table) -> dict[Place, int]:
    """Return, of keys that the tables hide, the log position up to which nothing is left of them.

    Args:
        ask: What was asked for.
        tombstones: What `serving.api.query.tombstone_query` found.
    """
    return _seen(ask, tombstones)


def merged(ask: Ask, page: Answer, newer: Mapping[Place, LiveRow]) -> Answer:
    """Return a page with newer rows; what then goes beyond its limit is the next page's."""
    if not newer:
        return page
    kept = page.rows.filter(
        pa.array([at not in newer for at in _places(ask, page.rows)], pa.bool_())
    )
    rows = [typed_row(ask, row) for row in newer.values() if not row.is_tombstone]
    added = pa.Table.from_pylist(rows, arrow_schema(ask.relation.columns)).cast(kept.schema)
    order = [(name, "ascending") for name in order_columns(ask.relation)]
    found = pa.concat_tables([kept, added]).sort_by(order)
    cut, after = found.slice(0, ask.limit), page.next
    if cut.num_rows < found.num_rows:
        after = cursor_after(ask, cut.slice(ask.limit - 1).to_pylist()[0])
    said = {
        "offsets": _offsets(page.meta.offsets, newer.values()),
        "status": dict(Counter(cut["status"].to_pylist())),
    }
    return replace(page, rows=cut, next=after, meta=page.meta.model_copy(update=said))


def freshness(live: LiveRows, ask: Ask) -> float | None:
    """Return how old an event is at most that a merged page does not show.

    Returns:
        Seconds, as the live tier says; None where it has forgotten some of the minutes asked for,
        of which the page shows what the tables have.
    """
    name = str(ask.relation.live)
    forgotten = live.whole_after(name)
    is_whole = forgotten is None or (isinstance(ask.start, datetime) and ask.start > forgotten)
    return live.age_seconds(name) if is_whole else None


def _seen(ask: Ask, rows: pa.Table) -> dict[Place, int]:
    return dict(zip(_places(ask, rows), rows[LAST_OFFSET].to_pylist(), strict=True))


def _places(ask: Ask, rows: pa.Table) -> list[Place]:
    columns = [rows[name].to_pylist() for name in order_columns(ask.relation)]
    return list(zip(*columns, strict=True))


def _offsets(known: dict[str, int], rows: Collection[LiveRow]) -> dict[str, int]:
    highest = dict(known)
    for row in rows:
        partition = str(row.log_partition)
        highest[partition] = max(row.last_offset, highest.get(partition, row.last_offset))
    return highest

"""Appends to the audit tables of ``ops``, which several processes may do at the same time."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

from lakehouse.resilience import retrying

# A commit of a few rows takes milliseconds; others that append at the same time are as quick.
COMMIT_BUDGET_SECONDS = 30.0


def append_rows(catalog: Catalog, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Append rows to an audit table in one commit; a concurrent append is waited out.

    Args:
        catalog: The lake's catalog.
        name: The table, such as ``ops.runs``.
        rows: Values by column; a column that is left out is null. No rows, no commit.

    Raises:
        CommitFailedException: Others were quicker for the whole budget.
    """
    if not rows:
        return

    @retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
    def commit() -> None:
        table = catalog.load_table(name)
        table.append(pa.Table.from_pylist(list(rows), schema=table.schema().as_arrow()))

    commit()

"""Appends to the audit tables of ``ops``, which several processes may do at the same time."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import In, Reference
from pyiceberg.expressions.literals import literal
from pyiceberg.table import Table

from lakehouse.resilience import retrying

# A commit of a few rows takes milliseconds; others that append at the same time are as quick.
COMMIT_BUDGET_SECONDS = 30.0


def append_rows(
    catalog: Catalog,
    name: str,
    rows: Sequence[Mapping[str, object]],
    *,
    once_by: str | None = None,
) -> None:
    """Append rows to an audit table in one commit; a concurrent append is waited out.

    Args:
        catalog: The lake's catalog.
        name: The table, such as ``ops.runs``.
        rows: Values by column; a column that is left out is null. No rows, no commit.
        once_by: A column of text. Rows whose value the table has by then are left out. Its contract
            has to forbid Iceberg's own retries: they append, though others did since the look.

    Raises:
        CommitFailedException: Others were quicker for the whole budget.
    """
    if not rows:
        return

    @retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
    def commit() -> None:
        table = catalog.load_table(name)
        new = list(rows) if once_by is None else _missing(table, once_by, rows)
        if new:
            table.append(pa.Table.from_pylist(new, schema=table.schema().as_arrow()))

    commit()


def _missing(
    table: Table, column: str, rows: Sequence[Mapping[str, object]]
) -> list[Mapping[str, object]]:
    values = {literal(str(row[column])) for row in rows}
    asked = In(term=Reference(column), values=values)
    found = table.scan(asked, selected_fields=(column,)).to_arrow()
    known = set(found[column].to_pylist())
    return [row for row in rows if row[column] not in known]

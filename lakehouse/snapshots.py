"""What columns a snapshot of an Iceberg table has, beside those that the table has today.

Engines give a snapshot the columns that it was written with. Who asks for one wants those of today:
a column is the same under whatever name, since Iceberg knows it by its number.
"""

from pyiceberg.schema import Schema
from pyiceberg.table import Table


def schema_then(table: Table, snapshot_id: int) -> Schema:
    """Return the schema that engines read a snapshot by."""
    snapshot = table.snapshot_by_id(snapshot_id)
    if snapshot is None or snapshot.schema_id is None:
        return table.schema()
    return table.schemas()[snapshot.schema_id]


def names_then(table: Table, snapshot_id: int) -> dict[str, str | None]:
    """Return the names that today's columns have in a snapshot, by their own, in order.

    A column that is younger than the snapshot has none.
    """
    then = {field.field_id: field.name for field in schema_then(table, snapshot_id).fields}
    return {field.name: then.get(field.field_id) for field in table.schema().fields}

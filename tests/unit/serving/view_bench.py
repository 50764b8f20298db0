"""The bars' views on tables of both layers, all in memory.

The tables are the engine's own and not Iceberg's, so that thousands of cases take seconds.
"""

from collections.abc import Iterable, Mapping

import duckdb
import pyarrow as pa
from bar_versions import Version

import schemas
from serving.views import view_sql


class Bench:
    """Empty tables of both layers and the views over them, all in memory."""

    def __init__(self, broken: Mapping[str, str] | None = None) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS lake; USE lake")
        self.connection.execute("CREATE SCHEMA gold; CREATE SCHEMA silver; CREATE SCHEMA serving")
        of_instruments = schemas.contract("silver.instruments").arrow_schema()
        instruments = pa.schema(f.with_type(_small(f.type)) for f in of_instruments)
        self.connection.register("none", instruments.empty_table())
        self.connection.execute("CREATE TABLE silver.instruments AS FROM none")
        arrow = schemas.contract("gold.bars_1m").arrow_schema()
        self.arrow = pa.schema(f.with_type(_small(f.type)).with_nullable(True) for f in arrow)
        for table in ("gold.bars_1m", "gold.bars_1m_rt"):
            self.connection.register("empty", self.arrow.empty_table())
            self.connection.execute(f"CREATE TABLE {table} AS FROM empty")
        for view in ("serving.bars_1m", "serving.bars_1h", "serving.market_daily"):
            sql = " ".join(view_sql(view, "duckdb").split())
            for right, wrong in (broken or {}).items():
                if view == "serving.bars_1m":
                    assert right in sql, f"nothing to break: {right}"
                    sql = sql.replace(right, wrong)
            self.connection.execute(f"CREATE VIEW {view} AS {sql}")

    def fill(self, batch: Iterable[Version], speed: Iterable[Version]) -> None:
        for table, rows in (("gold.bars_1m", batch), ("gold.bars_1m_rt", speed)):
            self.connection.execute(f"DELETE FROM {table}")
            said = [version.row() for version in rows]
            self.connection.register("rows", pa.Table.from_pylist(said, schema=self.arrow))
            self.connection.execute(f"INSERT INTO {table} FROM rows")

    def rows(self, sql: str) -> list[dict[str, object]]:
        return self.connection.execute(sql).to_arrow_table().to_pylist()

    def merged(self) -> list[dict[str, object]]:
        return self.rows("FROM serving.bars_1m ORDER BY symbol, window_start")


def _small(data_type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(data_type) else data_type

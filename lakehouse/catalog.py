"""The Iceberg catalog named ``lake``, as PyIceberg sees it.

The catalog's name is part of the key in an SQL catalog, so every engine uses the same one.
"""

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import (
    S3_ACCESS_KEY_ID,
    S3_ENDPOINT,
    S3_FORCE_VIRTUAL_ADDRESSING,
    S3_REGION,
    S3_SECRET_ACCESS_KEY,
)
from pyiceberg.table import StagedTable, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import Identifier

from lakehouse.catalog_database import database_address
from lakehouse.object_store import CA_FILE, S3FileIO
from lakehouse.settings import Settings

CATALOG_NAME = "lake"


class LakeCatalog(SqlCatalog):
    """A catalog in whose tables time never goes back, though the clock may.

    PyIceberg stamps commits by the clock, whatever that says. Iceberg's Java library, and with it
    Spark and Trino, refuses to read a table whose versions are out of order by more than a minute.
    """

    def _update_and_stage_table(
        self,
        current_table: Table | None,
        table_identifier: Identifier,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> StagedTable:
        staged = super()._update_and_stage_table(
            current_table, table_identifier, requirements, updates
        )
        if current_table is not None:
            staged.metadata = not_before(staged.metadata, current_table.metadata)
        return staged


def not_before(new: TableMetadata, current: TableMetadata) -> TableMetadata:
    """Return metadata that are made of others, with nothing in them that is older than those."""
    floor = current.last_updated_ms
    if new.last_updated_ms >= floor:
        return new
    known = {snapshot.snapshot_id for snapshot in current.snapshots}
    return new.model_copy(
        update={
            "last_updated_ms": floor,
            "snapshots": [
                snapshot
                if snapshot.snapshot_id in known
                else snapshot.model_copy(update={"timestamp_ms": floor})
                for snapshot in new.snapshots
            ],
            "snapshot_log": [
                entry
                if entry in current.snapshot_log
                else entry.model_copy(update={"timestamp_ms": floor})
                for entry in new.snapshot_log
            ],
        }
    )


def load_catalog(settings: Settings) -> Catalog:
    """Open the catalog, creating its own bookkeeping tables on first use."""
    return LakeCatalog(
        CATALOG_NAME,
        uri=database_address(settings).render_as_string(hide_password=False),
        warehouse=settings.warehouse_address,
        # A connection that a restarted server has forgotten is replaced, not reported.
        pool_pre_ping="true",
        **_object_store(settings),
    )


def _object_store(settings: Settings) -> dict[str, str]:
    if settings.s3_endpoint is None:
        return {}
    secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else ""
    properties = {
        "py-io-impl": f"{S3FileIO.__module__}.{S3FileIO.__qualname__}",
        S3_ENDPOINT: settings.s3_endpoint,
        S3_REGION: settings.s3_region,
        S3_ACCESS_KEY_ID: settings.s3_access_key or "",
        S3_SECRET_ACCESS_KEY: secret,
        S3_FORCE_VIRTUAL_ADDRESSING: "false",
    }
    return properties | ({CA_FILE: str(settings.ca_file)} if settings.ca_file else {})

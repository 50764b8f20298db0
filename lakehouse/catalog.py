"""The Iceberg catalog named ``lake``, as PyIceberg sees it.

The catalog's name is part of the key in an SQL catalog, so every engine uses the same one.
"""

from pathlib import Path
from urllib.parse import urlparse

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.settings import Settings

CATALOG_NAME = "lake"
# Two engines share the embedded catalog file; a commit holds its lock for milliseconds.
SQLITE_BUSY_TIMEOUT_SECONDS = 10


def load_catalog(settings: Settings) -> Catalog:
    """Open the catalog, creating its own bookkeeping tables on first use."""
    address = settings.catalog_address
    if address.startswith("sqlite:///"):
        Path(urlparse(address).path).parent.mkdir(parents=True, exist_ok=True)
        address = f"{address}?timeout={SQLITE_BUSY_TIMEOUT_SECONDS}"
    return SqlCatalog(CATALOG_NAME, uri=address, warehouse=settings.warehouse_address)

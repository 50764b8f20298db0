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

from lakehouse.catalog_database import database_address
from lakehouse.object_store import CA_FILE, S3FileIO
from lakehouse.settings import Settings

CATALOG_NAME = "lake"


def load_catalog(settings: Settings) -> Catalog:
    """Open the catalog, creating its own bookkeeping tables on first use."""
    return SqlCatalog(
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

"""The database that the catalog is in, as SQLAlchemy addresses it."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url

from lakehouse.settings import Settings

# Two engines share the embedded file; a commit holds its lock for milliseconds.
SQLITE_BUSY_TIMEOUT_SECONDS = 10


def database_address(settings: Settings) -> URL:
    """Return the address of the catalog's database, with its password and how it is verified.

    The folder of an embedded one is made.
    """
    address = make_url(settings.catalog_address)
    if address.get_backend_name() == "sqlite":
        Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
        address = address.update_query_dict({"timeout": str(SQLITE_BUSY_TIMEOUT_SECONDS)})
    elif settings.catalog_password:
        address = address.set(password=settings.catalog_password.get_secret_value())
    if address.get_backend_name() == "postgresql" and settings.ca_file:
        address = address.update_query_dict(
            {"sslmode": "verify-full", "sslrootcert": str(settings.ca_file)}
        )
    return address

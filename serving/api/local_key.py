"""The key of whoever owns the home: made at the first start, in a file that only they can read."""

from contextlib import closing
from pathlib import Path

from lakehouse.embedded import API
from lakehouse.errors import LakehouseError
from lakehouse.files import write_secretly
from lakehouse.processes import LOOPBACK, Supervisor
from lakehouse.settings import NotRunningError, Settings
from serving.api.keys import DATASETS, ApiKeys

NAME = "local"


class NoLocalKeyError(LakehouseError):
    """A home has no API key of its own."""


def local_key_file(settings: Settings) -> Path:
    """Return the path of the local key."""
    return settings.home / "keys" / "api-local"


def has_local_key(settings: Settings) -> bool:
    """Tell whether keys are in a file of the home, so that its owner could make one anyway.

    A database that others use too is not to get an operator's key by somebody starting an API.
    """
    return settings.catalog_uri is None


def local_key(settings: Settings, keys: ApiKeys) -> str:
    """Return the local key, made if there is none that is valid.

    It opens all that there is: whoever can read the file can read the whole home.

    Raises:
        serving.api.keys.ApiKeyError: The database does not answer.
    """
    file = local_key_file(settings)
    if file.exists():
        known = file.read_text().strip()
        found = keys.find(known)
        if found is not None and found.revoked_at is None:
            return known
    made = keys.create(NAME, role="operator", datasets=DATASETS)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secretly(file, made.encode())
    return made


def local_address(settings: Settings, port: int | None = None) -> str:
    """Return the page's address with the local key after its #, which no server is sent.

    Args:
        settings: The home.
        port: Where its API listens; what `lakehouse up` has started is found without.

    Raises:
        NoLocalKeyError: The home has no key of its own.
        NotRunningError: It is not told, and `lakehouse up` has started none, or none that lives.
            Whatever else listens where it would must not be handed the key.
        serving.api.keys.ApiKeyError: The database does not answer.
    """
    if not has_local_key(settings):
        raise NoLocalKeyError(
            f"the keys of {settings.home} are in a database, and none is the home's own: make one "
            "with `lakehouse api keys create`, and give it to the page"
        )
    if port is None:
        record = Supervisor(settings.home).find(API)
        if record is None or not record.alive:
            raise NotRunningError(
                f"no API of {settings.home} is known to run: start it with `lakehouse up`, or say "
                "by --port where you have started one"
            )
        port = record.port
    with closing(ApiKeys.of(settings)) as keys:
        return f"http://{LOOPBACK}:{port}/#key={local_key(settings, keys)}"

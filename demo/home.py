"""The demo's home: taken only if it is empty or was made by an earlier demo, and emptied then."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse import operations
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings

MARKER = "made-by-lakehouse-demo"
PICTURES = "pictures"
# What the platform and the demo put into a home; whatever else is there is somebody's own.
CONTENTS = ("catalog.db*", "warehouse", "kafka", "checkpoints", "logs", "run", "spark", PICTURES)


class HomeTakenError(LakehouseError):
    """The home holds a lake that is not the demo's to replace."""


class NotEmbeddedError(LakehouseError):
    """The settings lead to a log, a catalog or a warehouse that is not the home's own."""


@contextmanager
def demo_home(settings: Settings) -> Iterator[Path]:
    """Hold a home for one demo, emptied of what an earlier demo left there.

    Raises:
        HomeTakenError: It holds something else, or another demo is at work in it.
        NotEmbeddedError: The lake would not be in the home.
    """
    _refuse_foreign_parts(settings)
    home, marker = settings.home, settings.home / MARKER
    if not marker.exists() and home.exists() and any(home.iterdir()):
        raise HomeTakenError(
            f"{home} is not empty and no demo made it, so its lake is left alone. "
            "Name another home: LAKEHOUSE_HOME=.lakehouse-demo make demo"
        )
    home.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeTakenError(f"another demo is at work in {home}") from None
        operations.down(settings)
        _empty(home)
        yield home


def _empty(home: Path) -> None:
    for pattern in CONTENTS:
        for path in home.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _refuse_foreign_parts(settings: Settings) -> None:
    foreign = [
        f"LAKEHOUSE_{name.upper()}"
        for name in ("kafka_bootstrap", "catalog_uri", "warehouse")
        if getattr(settings, name) is not None
    ]
    if foreign:
        raise NotEmbeddedError(
            f"{', '.join(foreign)}: the demo starts from an empty lake of its own and would add "
            "its trades to yours; unset this for the demo"
        )

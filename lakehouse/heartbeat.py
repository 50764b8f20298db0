"""The sign of life of a long-running command: a file that it touches while it makes progress."""

import time
from pathlib import Path

from lakehouse.settings import Settings

# A beat may come thousands of times a second; the file system need not hear of each.
TOUCH_SECONDS = 1.0


class Heartbeat:
    """Touches ``run/<name>.beat``: the first time when the process is ready for work."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.path = beat_path(settings.home, name)
        self._touched_at = float("-inf")

    def beat(self) -> None:
        """Say that work went on; cheap enough for an inner loop."""
        now = time.monotonic()
        if now - self._touched_at >= TOUCH_SECONDS:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            self._touched_at = now


def beat_path(home: Path, name: str) -> Path:
    """Return the file that tells when the process last made progress."""
    return home / "run" / f"{name}.beat"


def last_beat(home: Path, name: str) -> float | None:
    """Return the time of the last beat in seconds since the epoch; None if there was none."""
    path = beat_path(home, name)
    return path.stat().st_mtime if path.exists() else None

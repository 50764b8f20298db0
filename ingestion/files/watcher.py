"""Watches the drop folder: takes each file once it has settled."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final

import structlog
from watchfiles import watch

from ingestion.files.drop_folder import DropFolder, State
from ingestion.files.loader import FileChangedError, FileLoader
from ingestion.files.loads import FileLoad

# Nobody says when a file is whole, so it is looked at again; and on a network's file system
# nobody says that one has come.
LOOK_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Watcher:
    """Loads what settles in a drop folder.

    Args:
        folder: The folder.
        loader: Loads a file of it.
        settle_seconds: How long a file must have been the same.
        clock: Seconds of a clock that does not go back.
    """

    def __init__(
        self,
        folder: DropFolder,
        loader: FileLoader,
        *,
        settle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._loader = loader
        self._settle_seconds = settle_seconds
        self._clock = clock
        # Files that could not be read, as they were then.
        self._left: dict[Path, State] = {}

    def run(
        self,
        *,
        once: bool,
        stop: Event,
        beat: Callable[[], None] = lambda: None,
        tell: Callable[[FileLoad], None] = lambda _: None,
    ) -> None:
        """Take files until told to stop.

        Args:
            once: End when no file waits any more.
            stop: Set from elsewhere; the file that is being loaded is loaded to its end.
            beat: Called as work goes on.
            tell: Is told each verdict.

        Raises:
            LakehouseError: The catalog or the store stayed away for too long.
        """
        self._folder.make()
        step_ms = round(min(LOOK_SECONDS, max(self._settle_seconds, 0.05)) * 1000)
        changes = watch(
            self._folder.root,
            stop_event=stop,
            debounce=step_ms,
            rust_timeout=step_ms,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        try:
            while not stop.is_set():
                beat()
                self.look(tell)
                if once and self._is_done():
                    return
                if next(changes, None) is None:
                    return  # it heard of the stop before we did
        finally:
            changes.close()

    def look(self, tell: Callable[[FileLoad], None] = lambda _: None) -> None:
        """Look once, and load what has settled."""
        settled = self._folder.settled(now=self._clock(), settle_seconds=self._settle_seconds)
        waiting = self._folder.waiting()
        for path in settled:
            if path in waiting and self._left.get(path) != waiting[path]:
                self._take(path, waiting[path], tell)

    def _take(self, path: Path, state: State, tell: Callable[[FileLoad], None]) -> None:
        try:
            verdict = self._loader.load(path)
        except FileChangedError as error:
            log.warning("waiting", file=path.name, error=str(error))
            return
        except PermissionError as error:
            log.warning("left alone until it changes", file=path.name, error=str(error))
            self._left[path] = state
            return
        if verdict is not None:
            tell(verdict)

    def _is_done(self) -> bool:
        waiting = self._folder.waiting()
        return all(self._left.get(path) == state for path, state in waiting.items())

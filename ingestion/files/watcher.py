"""Watches the drop folder: takes each file once it has settled."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

import structlog
from watchfiles import watch

from ingestion.files import metrics
from ingestion.files.drop_folder import DropFolder, State
from ingestion.files.loader import FileChangedError, FileLoader
from ingestion.files.loads import FileLoad

# Nobody says when a file is whole, so it is looked at again; and on a network's file system
# nobody says that one has come.
LOOK_SECONDS: Final = 1.0
# What cannot be read is seldom mended by the second, and each try is a line in the log.
RETRY_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Left:
    """A file that could not be taken, as it was then.

    Attributes:
        state: How it looked.
        error: Why it could not be taken.
        retry_at: When it is tried again, on the watcher's clock, if it does not change before.
    """

    state: State
    error: str
    retry_at: float


def settled_files(
    folder: DropFolder, *, settle_seconds: float, follow: bool, stop: Event
) -> Iterator[tuple[Path, State]]:
    """Yield what has settled in a drop folder, and load none of it.

    A file is yielded once, and once more whenever it has changed. It ends with whoever has started
    this process: nobody reads it then.

    Args:
        folder: The folder.
        settle_seconds: How long a file must have been the same.
        follow: Go on with what comes; or else end when what waits now has had time to settle.
        stop: Set from elsewhere.
    """
    folder.make()
    told: dict[Path, State] = {}
    parent, now = os.getppid(), time.monotonic()
    first_look = now
    while not stop.is_set() and os.getppid() == parent:
        settled = folder.settled(now=now, settle_seconds=settle_seconds)
        waiting = folder.waiting()
        told = {path: state for path, state in told.items() if path in waiting}
        for path in settled:
            if path in waiting and told.get(path) != waiting[path]:
                told[path] = waiting[path]
                yield path, waiting[path]
        if not follow and now - first_look >= settle_seconds:
            return
        stop.wait(min(LOOK_SECONDS, max(settle_seconds, 0.05)))
        now = time.monotonic()


class Watcher:
    """Loads what settles in a drop folder.

    A file that cannot be taken keeps none of the others waiting. It is tried again when it has
    changed, and after `RETRY_SECONDS`: permission shows in no look at it.

    Args:
        folder: The folder.
        loader: Loads a file of it.
        settle_seconds: How long a file must have been the same.
        clock: Seconds of a clock that does not go back.

    Attributes:
        left: The files that could not be taken, by their paths.
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
        self.left: dict[Path, Left] = {}

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
            once: End when no file waits any more, but those that were `left`.
            stop: Set from elsewhere; the file that is being loaded is loaded to its end.
            beat: Called as work goes on.
            tell: Is told each verdict.

        Raises:
            LakehouseError: A table is not as the loader needs it.
            pyiceberg.exceptions.CommitFailedException, sqlalchemy.exc.SQLAlchemyError: The
                catalog was too busy, or away, for longer than a load may take.
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
        now = self._clock()
        try:
            settled = self._folder.settled(now=now, settle_seconds=self._settle_seconds)
            waiting, unfinished = self._folder.waiting(), self._folder.unfinished()
        except OSError as error:
            log.warning("the drop folder cannot be read now", error=str(error))
            return
        self.left = {path: left for path, left in self.left.items() if path in waiting}
        taken = 0
        for path in settled:
            if path in waiting and self._may_try(path, waiting[path], now):
                taken += self._take(path, waiting[path], tell)
        metrics.show_waiting(
            settling=len(waiting) - taken - len(self.left),
            unfinished=len(unfinished),
            left=len(self.left),
        )

    def _may_try(self, path: Path, state: State, now: float) -> bool:
        left = self.left.get(path)
        return left is None or left.state != state or left.retry_at <= now

    def _take(self, path: Path, state: State, tell: Callable[[FileLoad], None]) -> bool:
        """Load a file; returns whether it has been dealt with."""
        try:
            verdict = self._loader.load(path)
        except FileChangedError as error:
            log.warning("waiting", file=path.name, error=str(error))
            return False
        except OSError as error:
            said = f"{type(error).__name__}: {error}"
            log.warning("left", file=path.name, error=said, retry_seconds=RETRY_SECONDS)
            self.left[path] = Left(state, said, self._clock() + RETRY_SECONDS)
            return False
        self.left.pop(path, None)
        if verdict is not None:
            tell(verdict)
        return True

    def _is_done(self) -> bool:
        try:
            waiting = self._folder.waiting()
        except OSError:
            return False
        return all(
            path in self.left and self.left[path].state == state for path, state in waiting.items()
        )

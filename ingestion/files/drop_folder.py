"""The drop folder: what has arrived, what is still being written, what was done with the rest.

    <drop>/<dataset>/<file>            to be loaded
    <drop>/loaded/<dataset>/<file>     loaded, now or by an earlier copy
    <drop>/refused/<dataset>/<file>    refused whole, the reason beside it

A file may also lie in the drop folder itself if its name begins with its dataset's. Names that end
in .part or .tmp or begin with a dot are somebody's unfinished work: whoever writes slowly uses such
a name and renames the file when it is whole. Any other file is taken once it is the same at two
looks with some time in between.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from hashlib import file_digest
from pathlib import Path
from typing import Final

from lakehouse.errors import LakehouseError
from lakehouse.files import write_atomically

LOADED, REFUSED = "loaded", "refused"
# The dataset of a file of which nobody said what it holds.
UNKNOWN: Final = "unknown"
PART = ".part"
UNFINISHED: Final = (PART, ".tmp")
REASON: Final = ".reason.txt"
LOCK: Final = ".lock"
# So much of a checksum keeps files of one name apart in the folders of what is done.
SHOWN_CHECKSUM: Final = 12


class NameTakenError(LakehouseError):
    """A file that waits to be loaded has the name of one that is to be dropped."""


@dataclass(frozen=True)
class State:
    """What shows whether somebody still writes to a file."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "State":
        """Look at a file."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


def as_text(name: str | Path) -> str:
    """Return a file's name or path as text, also where its bytes are none."""
    return os.fsencode(name).decode(errors="replace")


@dataclass(frozen=True)
class Arrival:
    """A file that is there to be loaded, as it was when its checksum was taken."""

    path: Path
    dataset: str
    checksum: str
    state: State

    @property
    def name(self) -> str:
        """The file's name."""
        return as_text(self.path.name)

    def is_unchanged(self) -> bool:
        """Tell whether the file is still what the checksum was taken of."""
        return self.path.exists() and State.of(self.path) == self.state


class DropFolder:
    """One drop folder and the datasets that files of are taken."""

    def __init__(self, root: Path, datasets: Iterable[str]) -> None:
        self.root = root
        self.datasets = tuple(sorted(datasets))
        self._looks: dict[Path, tuple[State, float]] = {}

    def make(self) -> None:
        """Make the folders that files are dropped into."""
        for dataset in self.datasets:
            (self.root / dataset).mkdir(parents=True, exist_ok=True)

    def waiting(self) -> dict[Path, State]:
        """Return the files that are there to be loaded, whole or not, oldest first."""
        found: dict[Path, State] = {}
        for path in self._files():
            # Somebody else may take it at any moment.
            with suppress(FileNotFoundError):
                if not _is_unfinished(path):
                    found[path] = State.of(path)
        return dict(sorted(found.items(), key=lambda one: (one[1].modified_ns, one[0].name)))

    def unfinished(self) -> list[Path]:
        """Return the files whose names say that somebody still writes to them."""
        return [path for path in self._files() if path.name != LOCK and _is_unfinished(path)]

    def _files(self) -> Iterator[Path]:
        folders = [self.root, *(self.root / dataset for dataset in self.datasets)]
        for folder in folders:
            if folder.is_dir():
                yield from (path for path in folder.iterdir() if path.is_file())

    def settled(self, *, now: float, settle_seconds: float) -> list[Path]:
        """Look at the files; return those that have been the same for some time.

        Args:
            now: Time of this look, in seconds of a clock that does not go back.
            settle_seconds: How long a file must have been the same, from an earlier look on.
        """
        looks: dict[Path, tuple[State, float]] = {}
        for path, state in self.waiting().items():
            before = self._looks.get(path)
            looks[path] = before if before is not None and before[0] == state else (state, now)
        self._looks = looks
        return [path for path, (_, since) in looks.items() if now - since >= settle_seconds]

    def arrival(self, path: Path) -> Arrival:
        """Take a file's checksum."""
        dataset, state = self.dataset_of(path), State.of(path)
        with path.open("rb") as file:
            checksum = file_digest(file, "sha256").hexdigest()
        return Arrival(path, dataset, checksum, state)

    def dataset_of(self, path: Path) -> str:
        """Return the dataset that a file is of, by its folder here or the start of its name."""
        if path.parent.parent == self.root and path.parent.name in self.datasets:
            return path.parent.name
        return next((name for name in self.datasets if path.name.startswith(name)), UNKNOWN)

    def place(self, source: Path, dataset: str) -> Path:
        """Copy a file into the folder of its dataset, where it appears whole or not at all.

        Raises:
            NameTakenError: Another file of that name waits there.
        """
        target = self.root / dataset / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}{PART}")
        shutil.copyfile(source, part)
        try:
            # Other than a rename, a link takes nobody's place.
            os.link(part, target)
        except FileExistsError:
            raise NameTakenError(
                f"another {source.name} waits in {target.parent}: let it be loaded first "
                "(`lakehouse files watch --once`)"
            ) from None
        finally:
            part.unlink()
        return target

    def keeps(self, arrival: Arrival, name: str) -> bool:
        """Tell whether a file of these bytes and that name lies among what was loaded."""
        return self._kept(LOADED, arrival, name).exists()

    def keep(self, arrival: Arrival) -> None:
        """Move a file to what was loaded."""
        self._move(arrival, LOADED)

    def refuse(self, arrival: Arrival, reason: str) -> None:
        """Move a file to what was refused, with the reason beside it."""
        target = self._kept(REFUSED, arrival, arrival.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target.with_name(target.name + REASON), f"{reason}\n")
        self._move(arrival, REFUSED)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder: of several that load from it, one takes a file at a time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    def _move(self, arrival: Arrival, to: str) -> None:
        target = self._kept(to, arrival, arrival.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        arrival.path.replace(target)

    def _kept(self, what: str, arrival: Arrival, name: str) -> Path:
        known_by = f"{arrival.checksum[:SHOWN_CHECKSUM]}_{name}"
        return self.root / what / arrival.dataset / known_by


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.name.endswith(UNFINISHED)

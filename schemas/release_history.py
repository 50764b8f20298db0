"""All that was ever released: what git keeps of ``released.json``.

The file alone would not do: whoever edits it in the same change as a contract, deletes it, or takes
the other side's in a merge, would also take away what the change is held against.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from lakehouse.errors import LakehouseError
from schemas.released import FILE, Released


class HistoryError(LakehouseError):
    """What was released before cannot be told."""


def released_ever(folder: Path) -> list[Released]:
    """Return what was released last, then every earlier state of it that was committed.

    Each counts, not only the last: a lake may be brought up to date from any of them.

    Args:
        folder: Where ``released.json`` is; without a git repository around it, there is only that.

    Raises:
        HistoryError: There is a repository, but git cannot read it, or not as far back as it goes.
    """
    found = [Released.read(folder)]
    for text in _committed(folder.resolve() / FILE):
        if (released := Released.parse(text)) not in found:
            found.append(released)
    return found


def _committed(file: Path) -> Iterator[str]:
    top = next((parent for parent in file.parents if (parent / ".git").exists()), None)
    if top is None:
        return
    if _git(top, "rev-parse", "--is-shallow-repository").strip() != "false":
        raise HistoryError(
            f"{top} is a shallow clone, which does not have all that was ever released: "
            "git fetch --unshallow"
        )
    # Of merges too, against each parent: one may have taken the other side's file.
    written = _git(
        top,
        *("log", "-m", "--full-history", "--diff-filter=d"),
        *("--raw", "--no-abbrev", "--format=", "--", str(file.relative_to(top))),
    )
    for blob in dict.fromkeys(line.split()[3] for line in written.splitlines()):
        yield _git(top, "cat-file", "blob", blob)


def _git(top: Path, *words: str) -> str:
    """Run git on the repository that is here, whichever one the environment is about."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["git", "-C", str(top), "--git-dir", ".git", *words],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise HistoryError(f"{top} is a git repository, and git cannot be run: {error}") from error
    except subprocess.CalledProcessError as error:
        raise HistoryError(f"{top}: git {words[0]}: {error.stderr.strip()}") from error
    return done.stdout

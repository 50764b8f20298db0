"""Small files that several processes read."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def write_secretly(path: Path, content: bytes) -> None:
    """Write a file, as ``write_atomically`` does, that nobody but its owner can read."""
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)

"""Small files that several processes read."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)

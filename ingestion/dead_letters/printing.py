"""Dead letters as a person or a program reads them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingestion.dead_letters.counts import Count
from ingestion.dead_letters.decoding import Decoded
from ingestion.dead_letters.letters import DeadLetter
from ingestion.dead_letters.redrive import Decision, Verdict

_BYTES_PER_LINE: Final = 16
# A terminal's page; --json has all of it.
SHOWN_BYTES: Final = 512
SHOWN_CHARACTERS: Final = 2_000
# A dry run names so many letters one by one; --json has all of them.
SHOWN_DECISIONS: Final = 20
_WOULD_BE: Final = {Verdict.SENT.value: "would be sent"}


def print_counts(counts: Sequence[Count], console: Console) -> None:
    """Print how many letters there are, by day and cause."""
    table = Table("day", "topic", "stage", "reason", header_style="bold")
    for name in ("letters", "redriven"):
        table.add_column(name, justify="right")
    for one in counts:
        cells = (str(one.day), one.topic, one.stage, one.reason)
        table.add_row(*cells, f"{one.letters:,}", f"{one.redriven:,}")
    console.print(table)
    letters, redriven = (
        sum(getattr(one, name) for one in counts) for name in ("letters", "redriven")
    )
    console.print(f"{letters:,} dead letters, {redriven:,} of them redriven", style="dim")


def counts_as_json(counts: Iterable[Count]) -> list[dict[str, Any]]:
    """Return the counts as JSON knows them."""
    return [asdict(one) | {"day": one.day.isoformat()} for one in counts]


def letter_as_json(
    letter: DeadLetter, decoded: Decoded, redrives: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return all that is known of a letter as JSON knows it; bytes are in hex."""
    return {
        "coordinates": str(letter.place) if letter.place else None,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "source": letter.source,
        "refused_at": letter.refused_at.isoformat(),
        "logged_at": letter.logged_at.isoformat() if letter.logged_at else None,
        "key": _readable(letter.key),
        "headers": {name: _readable(value) for name, value in letter.headers.items()},
        "redrives": [_redrive_as_json(row) for row in redrives],
        "payload": letter.payload.hex() if letter.payload is not None else None,
        "payload_bytes": len(letter.payload) if letter.payload is not None else None,
        "decoded": asdict(decoded),
    }


def print_letter(
    letter: DeadLetter,
    decoded: Decoded,
    redrives: Iterable[Mapping[str, Any]],
    console: Console,
) -> None:
    """Print all that is known of a letter; of a long payload the beginning."""
    said = letter_as_json(letter, decoded, redrives)
    console.print(said["coordinates"] or "never reached the log", style="bold")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(said):
        table.add_row(_plain(name), _plain(value))
    for number, line in enumerate(_dump(letter.payload or b"")):
        table.add_row("" if number else f"payload, {said['payload_bytes']} bytes", line)
    for name, value in _readings(decoded):
        table.add_row(_plain(name), _plain(value))
    console.print(table)


def _facts(said: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what is known of a letter besides its payload."""
    for name in ("stage", "reason", "detail", "source", "refused_at", "logged_at", "key"):
        if said[name] is not None:
            yield name.replace("_", " "), said[name]
    for name, value in said["headers"].items():
        yield f"header {name}", value
    for one in said["redrives"]:
        yield "redriven", ", ".join(f"{name} {value}" for name, value in one.items() if value)


def _readings(decoded: Decoded) -> Iterator[tuple[str, object]]:
    """Yield what could be read of a payload."""
    if decoded.schema_id is not None:
        yield "schema id", decoded.schema_id
    for name, value in decoded.fields.items():
        yield name, "null" if value is None else value
    if decoded.text is not None:
        yield "text", decoded.text[:SHOWN_CHARACTERS]
    if decoded.problem is not None:
        yield "problem", decoded.problem


def decision_as_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as JSON knows it."""
    letter = decision.letter
    return {
        "coordinates": str(letter.place) if letter.place else None,
        "stage": letter.stage,
        "reason": letter.reason,
        "verdict": decision.verdict.value,
        "attempt": decision.attempt,
        "detail": decision.detail,
        "topic": decision.message.topic if decision.message else None,
        "key": _readable(decision.message.key) if decision.message else None,
    }


def print_decisions(
    decisions: Sequence[Mapping[str, Any]], console: Console, *, dry_run: bool
) -> None:
    """Print what was, or in a dry run would be, done: in numbers, and in a dry run one by one.

    Args:
        decisions: From :func:`decision_as_json`.
        console: Where to.
        dry_run: Nothing was done.
    """
    if dry_run:
        _print_one_by_one(decisions, console)
    sums = Counter((said["stage"], said["reason"], said["verdict"]) for said in decisions)
    table = Table("stage", "reason", "verdict", header_style="bold")
    table.add_column("letters", justify="right")
    for (stage, reason, verdict), number in sorted(sums.items()):
        told = _WOULD_BE.get(verdict, verdict) if dry_run else verdict
        table.add_row(_plain(stage), _plain(reason), told, f"{number:,}")
    console.print(table)


def _print_one_by_one(decisions: Sequence[Mapping[str, Any]], console: Console) -> None:
    columns = ("coordinates", "verdict", "topic", "key", "detail")
    table = Table(*columns, header_style="bold")
    for said in decisions[:SHOWN_DECISIONS]:
        told = {**said, "verdict": _WOULD_BE.get(said["verdict"], said["verdict"])}
        table.add_row(*(_plain(told[name] or "") for name in columns))
    console.print(table)
    if (more := len(decisions) - SHOWN_DECISIONS) > 0:
        console.print(f"and {more:,} more", style="dim")


def _redrive_as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    at: datetime = row["redriven_at"]
    sent = None
    if row["sent_topic"] is not None:
        sent = f"{row['sent_topic']} partition {row['sent_partition']} offset {row['sent_offset']}"
    return {
        "at": at.isoformat(),
        "attempt": row["attempt"],
        "outcome": row["outcome"],
        "to": sent,
        "detail": row["detail"],
        "redrive_id": row["redrive_id"],
    }


def _readable(value: bytes | None) -> str | None:
    """Return bytes as text where they are printable text, else in hex."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def _plain(value: object) -> Text:
    """Return a value so that a terminal takes nothing in it for markup or a command."""
    return Text("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value)))


def _dump(payload: bytes) -> Iterator[Text]:
    """Yield lines of a hex dump, as far as it is shown."""
    for at in range(0, min(len(payload), SHOWN_BYTES), _BYTES_PER_LINE):
        line = payload[at : at + _BYTES_PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)  # noqa: PLR2004 - printable ASCII
        yield _plain(f"{at:08x}  {line.hex(' '):<47}  {text}")
    if len(payload) > SHOWN_BYTES:
        yield Text(f"… {len(payload) - SHOWN_BYTES:,} bytes more; --json has all")

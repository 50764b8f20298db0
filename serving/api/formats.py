"""The formats of an answer, chosen by ``Accept``: JSON, CSV, an Arrow stream."""

import io
import json
from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa

from serving.api import problems
from serving.api.answers import Answer
from serving.api.problems import ProblemError
from serving.output import as_objects, write_csv


class Format(StrEnum):
    """The media types of answers."""

    JSON = "application/json"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"


def accepted(accept: str | None) -> Format:
    """Return the format that a client likes best of those that there are.

    Args:
        accept: The header as it came (RFC 9110, 12.5.1); None if there was none.

    Raises:
        ProblemError: It takes none of them.
    """
    if not accept or not accept.strip():
        return Format.JSON
    wanted = [_range(part) for part in accept.split(",") if part.strip()]
    best = max(Format, key=lambda format_: _quality(format_, wanted))  # the first one, of equals
    if _quality(best, wanted) <= 0:
        there = ", ".join(Format)
        raise ProblemError(problems.NOT_ACCEPTABLE, f"Accept: {accept}; there are {there}")
    return best


def render(answer: Answer, format_: Format) -> bytes:
    """Return an answer in a format; what CSV and Arrow have no place for is in the headers."""
    match format_:
        case Format.JSON:
            body = {
                "data": list(as_objects(answer.rows)),
                "next": answer.next,
                "meta": answer.meta.model_dump(mode="json"),
            }
            text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return text.encode()
        case Format.CSV:
            lines = io.StringIO(newline="")
            write_csv(answer.rows, lines)
            return lines.getvalue().encode()
        case Format.ARROW:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, answer.rows.schema) as stream:
                stream.write_table(answer.rows)
            return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def meta_headers(answer: Answer) -> Mapping[str, str]:
    """Return what an answer says of itself, as headers."""
    meta = answer.meta
    said = {
        "X-Tier": meta.tier,
        "X-As-Of": meta.as_of.isoformat().replace("+00:00", "Z") if meta.as_of else None,
        "X-Freshness-Seconds": meta.freshness_seconds,
        "X-Seconds-Since-Commit": meta.seconds_since_commit,
        "X-Offsets": json.dumps(meta.offsets) if meta.offsets else None,
        "X-Status": json.dumps(meta.status) if meta.status else None,
        "X-Next": answer.next,
        "X-Degraded": meta.degraded,
        "Age": int(answer.age_seconds),
    }
    return {name: str(value) for name, value in said.items() if value is not None}


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(format_: Format, wanted: list[tuple[str, float]]) -> float:
    """Return how much a format is wanted: what is said most exactly counts."""
    kind = format_.value.partition("/")[0]
    for name in (format_.value, f"{kind}/*", "*/*"):
        said = [quality for wanted_name, quality in wanted if wanted_name == name]
        if said:
            return max(said)
    return 0.0

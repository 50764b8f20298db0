"""What a request asks of a resource: its parameters, checked and typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from serving.api import problems
from serving.api.examples import TEXTS
from serving.api.problems import ProblemError
from serving.api.relations import Relation, Resource, Tier
from serving.parameters import Day, Instant, Name

DEFAULT_LIMIT = 500
# An answer is made in memory, and its text by Python: a few thousand rows take half a second.
MOST_ROWS = 5_000
# More than an exchange lists on a page; a longer list is better asked for without a filter.
MOST_NAMES = 50
# As a page of `/v1/instruments` ends with.
_CURSOR = "WyI3NDYxNTRiZTRjNTNjNTczIiwiYmluYW5jZV9zcG90IiwiQlRDVVNEVCIsIjIwMjQtMDgtMDkiXQ"
_TIME = "An instant with its zone, as ISO 8601: 2024-08-09T00:00:00Z."

Value = str | int | datetime | date


@dataclass(frozen=True)
class Ask:
    """One page of a relation.

    Attributes:
        tier: None where there are no tiers.
        as_of: The time, UTC, as of which the lake is read; None for now.
        named: Columns, each with the values that it may have.
        start: The time range's first moment, or day.
        end: The first one after it.
        after: The cursor that the page before ended with.
        limit: Rows of the page.
    """

    relation: Relation
    tier: Tier | None
    as_of: datetime | None
    named: tuple[tuple[str, tuple[str, ...]], ...]
    start: Value | None
    end: Value | None
    after: str | None
    limit: int


def parameters(resource: Resource) -> type[BaseModel]:
    """Return the query parameters that a resource has, as FastAPI reads and documents them."""
    fields: dict[str, Any] = {}
    if len(resource.relations) > 1:
        widths = tuple(resource.relations)
        width = Field(widths[0], description="Width of a bar.", examples=[widths[0]])
        fields["interval"] = (Literal[widths], width)
    for column in resource.filters:
        said = f"Rows of this {column.replace('_', ' ')} only; repeat it for several."
        names = Field((), max_length=MOST_NAMES, description=said, examples=[[TEXTS[column]]])
        fields[column] = (tuple[Name, ...], names)
    if resource.sample.time is not None:
        moment, said = (
            (Day, "A day: 2024-08-09.") if resource.sample.time_is_date else (Instant, _TIME)
        )
        of = f"of `{resource.sample.time}`"
        fields["start"] = (moment | None, Field(None, description=f"First value {of}. {said}"))
        fields["end"] = (moment | None, Field(None, description=f"First value {of} after. {said}"))
    if resource.tiers:
        fields["tier"] = (
            Literal[resource.tiers],
            Field(
                "merged",
                description="Merged view, what batch has confirmed, or the live tier.",
                examples=["merged"],
            ),
        )
    asked = f"The lake as it was then. {_TIME}"
    fields["as_of"] = (Instant | None, Field(None, description=asked))
    fields["limit"] = (
        int,
        Field(
            DEFAULT_LIMIT,
            ge=1,
            le=MOST_ROWS,
            description="Rows of a page, at most.",
            examples=[DEFAULT_LIMIT],
        ),
    )
    of_before = "Where to go on: `next` of the page before; all else must be as it was there."
    fields["cursor"] = (
        str | None,
        Field(None, max_length=1_000, description=of_before, examples=[_CURSOR]),
    )
    strict = ConfigDict(extra="forbid", frozen=True)
    return create_model(f"{resource.name}_parameters", __config__=strict, **fields)


def ask_of(resource: Resource, asked: BaseModel, owner: str | None) -> Ask:
    """Return what a request asks for.

    Args:
        resource: The resource.
        asked: An instance of its ``parameters``.
        owner: The path's parameter, where the resource has one.

    Raises:
        ProblemError: What is asked for does not go together.
    """
    given: Mapping[str, Any] = dict(asked)
    relation = resource.relations[given.get("interval", "")]
    tier, as_of = given.get("tier"), _utc(given["as_of"])
    if tier == "live" and relation.live is None:
        raise ProblemError(
            problems.NO_LIVE_ROWS, f"the live tier keeps no {relation.name}: ask for another tier"
        )
    if tier == "live" and as_of is not None:
        raise ProblemError(
            problems.INVALID_REQUEST, "the live tier knows the present only: leave as_of out"
        )
    named = [(column, tuple(sorted(set(given[column])))) for column in resource.filters]
    if resource.owner and owner is not None:
        named.insert(0, (resource.owner, (owner,)))
    return Ask(
        relation=relation,
        tier=tier,
        as_of=as_of,
        named=tuple((column, values) for column, values in named if values),
        start=_utc(given.get("start")),
        end=_utc(given.get("end")),
        after=given["cursor"],
        limit=given["limit"],
    )


def _utc(moment: Any) -> Any:
    return moment.astimezone(UTC) if isinstance(moment, datetime) else moment

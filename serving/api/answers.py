"""What a request is answered with: rows, where to go on, and how far to trust them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import pyarrow as pa
from pydantic import BaseModel, Field, create_model
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestamptzType,
)

from serving.api.examples import example_of
from serving.api.paging import Place
from serving.api.relations import OutColumn, Relation, Resource, Tier

R = TypeVar("R")

# What `Meta` says in seconds that go on while an answer is kept.
AGES = ("freshness_seconds", "seconds_since_commit")

_DECIMAL = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
_INSTANT = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
_DAY = Annotated[str, Field(json_schema_extra={"format": "date"})]
_JSON_TYPES: dict[type[IcebergType], Any] = {
    BooleanType: bool,
    IntegerType: int,
    LongType: int,
    DoubleType: float,
    StringType: str,
    DecimalType: _DECIMAL,
    TimestamptzType: _INSTANT,
    DateType: _DAY,
}


class Meta(BaseModel):
    """What an answer says of itself."""

    tier: Tier | None = Field(description="Null of a table that has no tiers.")
    as_of: datetime | None = Field(description="The time as of which the lake was read.")
    freshness_seconds: float | None = Field(
        description="An event that the rows do not show yet is at most this old: by what the live "
        "tier says, of the tier `live`, and of `merged` minutes, an event of the last hour of its "
        "instrument; by time of ingestion, of what batch alone has made. Null where nobody can "
        "say, and of the past: `/v1/lag` tells how far bronze is behind."
    )
    seconds_since_commit: float | None = Field(
        default=None,
        description="Time since the tables behind the rows were last written; null of the live "
        "tier, of the past, and where nothing was ever written.",
    )
    offsets: dict[str, int] = Field(
        description="By partition of the log, the highest position behind these rows."
    )
    status: dict[str, int] = Field(description="Rows of this page, by status.")
    degraded: str | None = Field(
        default=None, description="Why the rows are older than they should be; null if they aren't."
    )


class Page(BaseModel, Generic[R]):
    """A page of rows."""

    data: list[R]
    next: str | None = Field(description="The cursor of the page that follows; null on the last.")
    meta: Meta


@dataclass(frozen=True)
class Answer:
    """A page, before it has a format.

    Attributes:
        rows: With the columns of the relation, in order.
        next: The cursor of the page that follows; None on the last.
        meta: What it says of itself.
        age_seconds: How long ago it was made.
        hidden: Of keys that a view hides, the log position up to which nothing is left of them.
    """

    rows: pa.Table
    next: str | None
    meta: Meta
    age_seconds: float = 0.0
    hidden: Mapping[Place, int] = field(default_factory=dict)


def page_model(resource: Resource) -> type[BaseModel]:
    """Return the model of a resource's page, for the API's description."""
    model: Any = row_model(resource.name, resource.sample)
    page: type[BaseModel] = Page[model]
    return page


def row_model(name: str, relation: Relation) -> type[BaseModel]:
    """Return the model of a relation's row."""
    fields: Mapping[str, Any] = {column.name: _field(column) for column in relation.columns}
    return create_model(f"{name}_row", **fields)


def _field(column: OutColumn) -> tuple[Any, Any]:
    kind = _JSON_TYPES[type(column.type)]
    said = f"{column.description} Unit: {column.unit}." if column.unit else column.description
    field = Field(description=said, examples=[example_of(column)])
    return kind if column.required else kind | None, field

"""What a resource of the API is: a relation, its order, and its columns, taken from contracts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal

from pyiceberg.types import DateType, IcebergType, LongType, StringType

import schemas

Tier = Literal["merged", "reconciled", "live"]
Dataset = Literal["market", "clients", "operations"]
"""What keys are scoped by: market data; what clients hold; how the platform is."""


@dataclass(frozen=True)
class OutColumn:
    """A column of an answer: its type and meaning."""

    name: str
    type: IcebergType
    required: bool
    description: str
    unit: str | None


_STATUS = OutColumn(
    "status",
    StringType(),
    required=True,
    description="RECONCILED: batch made the row; PROVISIONAL: the speed layer or the live tier.",
    unit=None,
)


LAST_OFFSET = "last_offset"
ROWS, NEWEST = "rows", "newest"
_ROWS = OutColumn(ROWS, LongType(), required=True, description="How many there are.", unit=None)


@dataclass(frozen=True)
class Relation:
    """A table or merged view whose rows are served.

    Attributes:
        name: As SQL knows it, such as ``serving.bars_1m``.
        contract: The table whose contract states key, order and columns.
        order: Columns that rows are ordered by, which together no two rows share; a minus stands
            before one whose greatest value is first.
        time: The column that a time range is of; None for none.
        added: Columns that the view joins, by name, each with the contract's column that it is
            like.
        omitted: Columns of the contract that are not served.
        counted: Rows are counted by these columns, where it is not the rows that are served.
        minutes: How long a row's time is, of rows that are rolled up from one-minute bars.
        routed_by: Columns that the log's events are keyed by, so that all of a key's are in one
            partition.
        live: The relation's name in the live tier; None if that does not keep it.
        hides: The column that is 0 in rows that the view hides; None if it hides none.
    """

    name: str
    contract: str
    order: tuple[str, ...]
    time: str | None = None
    added: Mapping[str, str] = field(default_factory=dict, hash=False)
    omitted: tuple[str, ...] = ("log_partition",)
    counted: tuple[str, ...] = ()
    minutes: timedelta | None = None
    routed_by: tuple[str, ...] = ("venue", "symbol")
    live: str | None = None
    hides: str | None = None

    @property
    def is_merged(self) -> bool:
        """Whether it is a view of both layers, and not a table."""
        return self.name.startswith("serving.")

    @cached_property
    def columns(self) -> tuple[OutColumn, ...]:
        """The columns of an answer, in order."""
        contract = schemas.contract(self.contract)
        own = [_named(c.name, c) for c in contract.columns if self._is_served(c.name)]
        if self.counted and self.time is not None:
            return (*own, _ROWS, _named(NEWEST, contract.column(self.time)))
        joined = [_like(name, source) for name, source in self.added.items()]
        return (*own, *joined, *([_STATUS] if self.is_merged else []))

    @cached_property
    def time_is_date(self) -> bool:
        """Whether the time range is one of days."""
        contract = schemas.contract(self.contract)
        return self.time is not None and isinstance(contract.column(self.time).type, DateType)

    def _is_served(self, column: str) -> bool:
        return column in self.counted if self.counted else column not in self.omitted

    def column(self, name: str) -> OutColumn:
        """Return the column of that name, which there must be."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Resource:
    """One path of the API and what it reads.

    Attributes:
        path: Such as ``/v1/bars``.
        title: What a row is, in a sentence.
        dataset: What a key must be scoped for.
        relations: By interval; under an empty name where there is but one.
        filters: Columns that can be asked for by name.
        owner: The column that the path's parameter names the value of.
    """

    path: str
    title: str
    dataset: Dataset
    relations: Mapping[str, Relation]
    filters: tuple[str, ...] = ()
    owner: str | None = None

    @property
    def name(self) -> str:
        """The part of the path that names it: ``market_daily``."""
        return self.path.removeprefix("/v1/").partition("/{")[0].replace("/", "_").replace("-", "_")

    @property
    def sample(self) -> Relation:
        """Any of its relations: in what they can be asked for, all are alike."""
        return next(iter(self.relations.values()))

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that it has; none of a table that no layer merges."""
        if not self.sample.is_merged:
            return ()
        live = any(relation.live for relation in self.relations.values())
        return ("merged", "reconciled", "live") if live else ("merged", "reconciled")


def _like(name: str, source: str) -> OutColumn:
    table, _, column = source.rpartition(".")
    return replace(_named(name, schemas.contract(table).column(column)), required=False)


def _named(name: str, column: schemas.Column) -> OutColumn:
    return OutColumn(name, column.type, column.required, column.description, column.unit)

"""Rules on the quality of a table's rows, as its contract states them.

Of what the Open Data Contract Standard offers, rules of type ``sql``: a query that returns one
number, and what that number must be. In the query ``${object}`` stands for the rows that are
checked, ``${start}`` and ``${end}`` for the run's interval.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from string import Template

from open_data_contract_standard.model import DataQuality

# Queries that ask one aggregate of the rows that are checked, and of nothing else.
_AGGREGATE = re.compile(r"SELECT (?P<asked>.+?) FROM \$\{object\}(?: WHERE (?P<where>.+))?", re.S)
# What makes a query more than that. A distinct count beside others makes Spark keep a state of all
# of them for each value.
_MORE = re.compile(r"\b(SELECT|FROM|DISTINCT|GROUP|ORDER|LIMIT|JOIN|OVER)\b", re.I)


class Severity(StrEnum):
    """What a breach leads to.

    ``WARN``: it is on record. ``QUARANTINE``: nothing is published, and what was computed is kept
    on its branch to be looked at. ``REFUSE``: nothing is published or kept.
    """

    WARN = "warn"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


class QualityRuleError(ValueError):
    """A rule is not stated as it must be; says what is wrong."""


@dataclass(frozen=True)
class Expectation:
    """What the number of a rule must be, as text and as a test."""

    text: str
    holds: Callable[[Decimal], bool]


@dataclass(frozen=True)
class QualityRule:
    """One rule.

    Attributes:
        dimension: What it is about, in the standard's words: ``validity``, ``consistency`` and so
            on.
        query: SQL that returns one number.
    """

    name: str
    description: str
    dimension: str
    severity: Severity
    query: str
    expected: Expectation

    def sql(self, rows: str, start: str, end: str) -> str:
        """Return the query over a relation of that name, for an interval of ISO times."""
        return Template(self.query).substitute(object=rows, start=start, end=end)

    def expression(self, rows: str, start: str, end: str) -> str:
        """Return what asks the rule beside others, in one look at a relation of that name.

        An aggregate of the rows; of a query that is more than that, the query in brackets.
        """
        found = _AGGREGATE.fullmatch(self.query)
        asked, where = found.group("asked", "where") if found else ("", None)
        counts_some = asked == "count(*)" and where is not None
        if not found or _MORE.search(f"{asked} {where}") or (where and not counts_some):
            return f"({self.sql(rows, start, end)})"
        expression = f"count_if({where})" if counts_some else asked
        return Template(expression).substitute(object=rows, start=start, end=end)


_COMPARISONS: dict[str, tuple[str, Callable[[Decimal, Decimal], bool]]] = {
    "mustBe": ("=", lambda found, bound: found == bound),
    "mustNotBe": ("!=", lambda found, bound: found != bound),
    "mustBeGreaterThan": (">", lambda found, bound: found > bound),
    "mustBeGreaterOrEqualTo": (">=", lambda found, bound: found >= bound),
    "mustBeLessThan": ("<", lambda found, bound: found < bound),
    "mustBeLessOrEqualTo": ("<=", lambda found, bound: found <= bound),
}
BETWEEN = "mustBeBetween"


def quality_rules(stated: Iterable[DataQuality]) -> Iterator[QualityRule]:
    """Return the rules of a contract.

    Raises:
        QualityRuleError: One is not stated as it must be; names it.
    """
    seen: set[str] = set()
    for number, rule in enumerate(stated):
        name = rule.name or f"quality[{number}]"
        if rule.type != "sql" or not rule.query or not rule.name:
            raise QualityRuleError(f"{name}: must have a name, the type sql and a query")
        if name in seen:
            raise QualityRuleError(f"{name}: is stated twice")
        seen.add(name)
        if rule.severity not in set(Severity):
            raise QualityRuleError(f"{name}: severity must be one of {', '.join(Severity)}")
        if not rule.description or not rule.dimension:
            raise QualityRuleError(f"{name}: description and dimension must be stated")
        try:
            Template(rule.query).substitute(object="", start="", end="")
        except (KeyError, ValueError) as error:
            raise QualityRuleError(
                f"{name}: query: unknown or broken placeholder {error}"
            ) from error
        yield QualityRule(
            name=name,
            description=rule.description,
            dimension=rule.dimension,
            severity=Severity(rule.severity),
            query=rule.query,
            expected=_expectation(rule, name),
        )


def _expectation(rule: DataQuality, name: str) -> Expectation:
    bounds = {
        operator: getattr(rule, operator)
        for operator in (*_COMPARISONS, BETWEEN)
        if getattr(rule, operator) is not None
    }
    if len(bounds) != 1:
        raise QualityRuleError(
            f"{name}: exactly one of {', '.join((*_COMPARISONS, BETWEEN))} must be stated"
        )
    ((operator, value),) = bounds.items()
    if operator == BETWEEN:
        return _between(value, name)
    sign, compare = _COMPARISONS[operator]
    bound = Decimal(str(value))
    return Expectation(f"{sign} {bound}", lambda found: compare(found, bound))


def _between(bounds: list[float | int], name: str) -> Expectation:
    lower, upper = (Decimal(str(bound)) for bound in bounds)
    if lower > upper:
        raise QualityRuleError(f"{name}: {BETWEEN} must have the lower number first")
    return Expectation(f"between {lower} and {upper}", lambda found: lower <= found <= upper)

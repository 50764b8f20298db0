"""Quality rules as contracts state them."""

from decimal import Decimal
from typing import Any

import pytest
from open_data_contract_standard.model import DataQuality

from schemas import contracts
from schemas.quality import QualityRuleError, Severity, quality_rules


def stated(**changes: Any) -> DataQuality:
    return DataQuality.model_validate(
        {
            "name": "nothing_is_negative",
            "description": "No price is below zero.",
            "type": "sql",
            "dimension": "validity",
            "query": "SELECT count(*) FROM ${object} WHERE price < 0 AND at < '${end}'",
            "mustBe": 0,
            "severity": "refuse",
        }
        | changes
    )


def test_a_rule_is_a_query_and_what_its_number_must_be() -> None:
    [rule] = quality_rules([stated()])
    assert (rule.name, rule.severity, rule.expected.text) == (
        *("nothing_is_negative", Severity.REFUSE),
        "= 0",
    )
    assert rule.sql("rows", "then", "now") == (
        "SELECT count(*) FROM rows WHERE price < 0 AND at < 'now'"
    )


@pytest.mark.parametrize(
    ("operator", "holds", "breaks"),
    [
        ("mustBe", 5, 6),
        ("mustNotBe", 6, 5),
        ("mustBeGreaterThan", 6, 5),
        ("mustBeGreaterOrEqualTo", 5, 4),
        ("mustBeLessThan", 4, 5),
        ("mustBeLessOrEqualTo", 5, 6),
    ],
)
def test_what_a_number_may_be(operator: str, holds: int, breaks: int) -> None:
    [rule] = quality_rules([stated(**{"mustBe": None, operator: 5})])
    assert rule.expected.holds(Decimal(holds))
    assert not rule.expected.holds(Decimal(breaks))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": None}, "must have a name"),
        ({"type": "library", "metric": "nullValues"}, "the type sql"),
        ({"severity": "error"}, "severity must be one of warn, quarantine, refuse"),
        ({"dimension": None}, "dimension must be stated"),
        ({"query": "SELECT ${nothing}"}, "placeholder"),
        ({"mustBe": None}, "exactly one of"),
        ({"mustBeLessThan": 3}, "exactly one of"),
    ],
)
def test_a_rule_that_is_not_stated_well_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(QualityRuleError, match=problem):
        list(quality_rules([stated(**changes)]))


def test_a_rule_is_stated_once() -> None:
    with pytest.raises(QualityRuleError, match="is stated twice"):
        list(quality_rules([stated(), stated()]))


def test_the_platforms_tables_have_rules() -> None:
    ruled = {name for name, table in contracts().items() if table.quality}
    assert ruled >= {"silver.trades", "gold.bars_1m", "silver.quotes", "gold.spreads_1m"}
    assert not any(name.endswith("_rt") for name in ruled), "batch checks what it publishes"

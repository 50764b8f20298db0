"""Quality rules as contracts state them."""

from decimal import Decimal
from typing import Any

import pytest
from open_data_contract_standard.model import DataQuality

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
    ("query", "expression"),
    [
        ("SELECT count(*) FROM ${object} WHERE a < 0 OR b", "count_if(a < 0 OR b)"),
        ("SELECT max(a) - min(a) FROM ${object}", "max(a) - min(a)"),
        ("SELECT sum(a) FROM ${object} WHERE b", None),
        ("SELECT count(DISTINCT a) FROM ${object}", None),
        ("SELECT max(a) FROM ${object} GROUP BY b", None),
        ("SELECT max(a) FROM ${object} AS one JOIN two ON one.a = two.a", None),
        ("SELECT count(*) FROM ${object} WHERE a > (SELECT max(a) FROM two)", None),
        ("SELECT count(*) FROM (SELECT 1 FROM ${object} GROUP BY a HAVING count(*) > 1)", None),
        ("SELECT max(a) FROM two", None),
    ],
)
def test_a_rule_that_is_an_aggregate_of_the_rows_is_asked_with_others(
    query: str, expression: str | None
) -> None:
    [rule] = quality_rules([stated(query=query)])
    in_brackets = f"({query.replace('${object}', 'rows')})"
    assert rule.expression("rows", "then", "now") == (expression or in_brackets)


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


def test_a_number_between_two() -> None:
    [rule] = quality_rules([stated(mustBe=None, mustBeBetween=[0.5, 2])])
    assert rule.expected.text == "between 0.5 and 2"
    assert all(rule.expected.holds(Decimal(found)) for found in ("0.5", "1", "2"))
    assert not any(rule.expected.holds(Decimal(found)) for found in ("0.4999", "2.0001"))


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
        ({"mustBeBetween": [1, 2]}, "exactly one of"),
        ({"mustBe": None, "mustBeBetween": [2, 1]}, "the lower number first"),
    ],
)
def test_a_rule_that_is_not_stated_well_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(QualityRuleError, match=problem):
        list(quality_rules([stated(**changes)]))


def test_a_rule_is_stated_once() -> None:
    with pytest.raises(QualityRuleError, match="is stated twice"):
        list(quality_rules([stated(), stated()]))

"""Who may do what in Trino, read from its rules: each user, each table and view, each column.

The rules are read here as Trino documents them: of each section the first rule whose patterns all
match the whole name counts, and where none matches nothing is allowed.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import schemas
from lakehouse.infra import infra_file
from schemas import TableContract
from serving.views import view_names, view_sources

ANALYSTS = ("analyst", "analyst_of_derivatives", "dashboard")
OTHERS = ("root", "", "anal", "my_analyst", "Analyst", "monitor", "operator", "batch", "speed")
TABLES = tuple(schemas.contracts())
RELATIONS = (*TABLES, *view_names())
# By user: the schemas that it reads.
READS = {
    **dict.fromkeys(ANALYSTS, frozenset({"serving", "gold"})),
    "serving": frozenset({"serving", "gold", "silver", "ops"}),
    "orchestration": frozenset({"serving", "gold", "silver", "ops", "bronze"}),
    **dict.fromkeys(OTHERS, frozenset()),
}
# What the API counts; of what was in them it sees nothing.
COUNTED = ("serving", "bronze.dead_letters")
WRITES = ("INSERT", "UPDATE", "DELETE", "OWNERSHIP")
Rules = dict[str, list[dict[str, Any]]]


@cache
def rules() -> Rules:
    found: Rules = json.loads(infra_file("trino/rules.json").read_text())
    return found


@cache
def groups() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(infra_file("trino/resource-groups.json").read_text())
    return found


def first(section: Iterable[dict[str, Any]], **names: str) -> dict[str, Any]:
    for rule in section:
        if all(re.fullmatch(rule.get(part, ".*"), name) for part, name in names.items()):
            return rule
    return {}


def privileges(user: str, relation: str, read: Rules | None = None) -> set[str]:
    """What a user may do with a table or view of the lake."""
    read = read or rules()
    schema, _, table = relation.partition(".")
    catalog = first(read["catalogs"], user=user, catalog="lake").get("allow", "none")
    if catalog == "none":
        return set()
    rule = first(read["tables"], user=user, catalog="lake", schema=schema, table=table)
    granted = set(rule.get("privileges", ()))
    return granted - set(WRITES) if catalog == "read-only" else granted


def readable_columns(
    user: str, relation: str, columns: Iterable[str], read: Rules | None = None
) -> set[str]:
    read = read or rules()
    if "SELECT" not in privileges(user, relation, read):
        return set()
    schema, _, table = relation.partition(".")
    rule = first(read["tables"], user=user, catalog="lake", schema=schema, table=table)
    denied = {c["name"] for c in rule.get("columns", ()) if not c.get("allow", True)}
    return set(columns) - denied


def readable_pii(contracts: Mapping[str, TableContract], read: Rules | None = None) -> set[str]:
    """Personal columns that somebody who answers to no one reads, in tables or through views."""
    personal = {
        name: {column.name for column in contract.columns if column.pii}
        for name, contract in contracts.items()
    }
    behind = {
        view: set().union(*(personal.get(source, set()) for source in tables_of(view)))
        for view in view_names()
    }
    return {
        f"{user}: {relation}.{column}"
        for user in ANALYSTS
        for relation, columns in (personal | behind).items()
        for column in readable_columns(user, relation, columns, read)
    }


def tables_of(view: str) -> set[str]:
    found: set[str] = set()
    for source in view_sources(view):
        found |= tables_of(source) if source in view_names() else {source}
    return found


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("user", READS)
def test_each_user_reads_its_schemas_and_no_other(user: str, relation: str) -> None:
    may_read = relation.partition(".")[0] in READS[user] or (user, relation) == COUNTED
    assert ("SELECT" in privileges(user, relation)) == may_read


def test_dead_letters_are_counted_unread() -> None:
    user, relation = COUNTED
    columns = schemas.contract(relation).column_names
    hidden = set(columns) - readable_columns(user, relation, columns)
    assert hidden == {"detail", "message_key", "headers", "payload"}


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("user", READS)
def test_only_orchestration_changes_anything(user: str, relation: str) -> None:
    may_write = bool(privileges(user, relation) & set(WRITES))
    assert may_write == (user == "orchestration")


def test_only_orchestration_owns_schemas() -> None:
    for user in READS:
        for schema in ("serving", "gold", "new"):
            owns = first(rules()["schemas"], user=user, catalog="lake", schema=schema).get("owner")
            assert bool(owns) == (user == "orchestration" and schema != "new")


def test_views_are_readable_by_whom_their_tables_are_hidden_from() -> None:
    """Their owner lends its right to read: it must have it, and be allowed to lend it."""
    for view in view_names():
        for source in view_sources(view):
            assert {"SELECT", "GRANT_SELECT"} <= privileges("orchestration", source)
    assert "GRANT_SELECT" not in privileges("serving", "silver.trades")


@pytest.mark.parametrize("user", ["serving", *ANALYSTS])
def test_what_iceberg_tells_of_a_table_is_not_for_readers(user: str) -> None:
    for hidden in ("bars_1m$files", "bars_1m$history", "bars_1m$properties"):
        assert privileges(user, f"gold.{hidden}") == set()


def test_nobody_reads_personal_data() -> None:
    assert readable_pii(schemas.contracts()) == set()


def test_a_personal_column_in_gold_would_be_noticed_until_it_is_denied() -> None:
    contract = schemas.contract("gold.bars_1m")
    marked = tuple(replace(c, pii=c.name in ("symbol", "venue")) for c in contract.columns)
    contracts = {**schemas.contracts(), contract.name: replace(contract, columns=marked)}
    noticed = readable_pii(contracts)
    assert {"analyst: gold.bars_1m.symbol", "analyst: serving.market_daily.venue"} <= noticed
    denying: Rules = json.loads(json.dumps(rules()))
    for rule in denying["tables"]:
        if rule.get("user", "").startswith("dashboard"):
            rule["columns"] = [{"name": name, "allow": False} for name in ("symbol", "venue")]
    assert readable_pii(contracts, denying) == set()


@pytest.mark.parametrize("user", READS)
def test_only_known_users_run_queries_and_see_those_of_others(user: str) -> None:
    allowed = set(first(rules()["queries"], user=user).get("allow", ()))
    if user == "orchestration":
        assert allowed == {"execute", "view", "kill"}
    else:
        assert allowed == ({"execute"} if READS[user] else set())


@pytest.mark.parametrize("user", READS)
def test_nobody_becomes_somebody_else(user: str) -> None:
    for section in ("impersonation", "authorization"):
        rule = first(rules()[section], original_user=user, new_user="orchestration")
        assert rule["allow"] is False


@pytest.mark.parametrize("user", READS)
def test_only_the_monitor_reads_what_the_server_tells_of_itself(user: str) -> None:
    allowed = first(rules()["system_information"], user=user).get("allow")
    assert allowed == (["read"] if user == "monitor" else [])


def test_procedures_and_table_functions_are_for_nobody() -> None:
    assert rules()["procedures"] == []
    assert rules()["functions"] == []


@pytest.mark.parametrize("user", ANALYSTS)
def test_readers_do_not_lift_their_own_limits(user: str) -> None:
    for name in ("query_max_memory", "query_priority", "resource_overcommit", "task_concurrency"):
        rule = first(rules()["system_session_properties"], user=user, property=name)
        assert rule.get("allow", False) is False


def group_of(user: str, kind: str = "SELECT") -> str:
    """The group of a statement of a kind; one without a group is refused."""
    for selector in groups()["selectors"]:
        if re.fullmatch(selector["user"], user) and selector.get("queryType", kind) == kind:
            return str(selector["group"]).replace("${USER}", user)
    return ""


def subgroups() -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in groups()["rootGroups"][0]["subGroups"]}


@pytest.mark.parametrize(
    ("user", "group"),
    [
        ("serving", "lake.serving"),
        ("dashboard", "lake.dashboards"),
        ("orchestration", "lake.orchestration"),
        ("analyst", "lake.analysts.analyst"),
        ("analyst_of_derivatives", "lake.analysts.analyst_of_derivatives"),
        ("monitor", ""),
        ("my_analyst", ""),
    ],
)
def test_queries_go_to_their_users_group(user: str, group: str) -> None:
    assert group_of(user) == group


@pytest.mark.parametrize("user", ["serving", *ANALYSTS])
def test_what_the_rules_have_no_word_for_is_refused_by_its_kind(user: str) -> None:
    """The rules let a reader of a table expire its snapshots; see resource-groups.properties."""
    reading = {"SELECT", "EXPLAIN", "DESCRIBE", "DATA_DEFINITION"}
    others = {"INSERT", "UPDATE", "MERGE", "DELETE", "ANALYZE", "ALTER_TABLE_EXECUTE"}
    assert {kind for kind in reading | others if group_of(user, kind)} == reading
    assert group_of("orchestration", "ALTER_TABLE_EXECUTE")


def test_whoever_may_query_has_a_group() -> None:
    for user in READS:
        may_query = "execute" in first(rules()["queries"], user=user).get("allow", ())
        assert bool(group_of(user)) == may_query


def test_every_selected_group_exists() -> None:
    for selector in groups()["selectors"]:
        _, name, *rest = selector["group"].split(".")
        inner = [group["name"] for group in subgroups()[name].get("subGroups", ())]
        assert rest in ([], inner)


def test_analysts_cannot_take_the_places_of_dashboards() -> None:
    root = groups()["rootGroups"][0]
    places = sum(group["hardConcurrencyLimit"] for group in subgroups().values())
    assert places <= root["hardConcurrencyLimit"]
    analysts, dashboards = subgroups()["analysts"], subgroups()["dashboards"]
    assert analysts["schedulingWeight"] < dashboards["schedulingWeight"]
    assert int(analysts["softMemoryLimit"].removesuffix("%")) <= 50
    assert analysts["hardCpuLimit"]
    one = analysts["subGroups"][0]
    assert one["hardConcurrencyLimit"] < analysts["hardConcurrencyLimit"]
    assert one["maxQueued"] < analysts["maxQueued"]

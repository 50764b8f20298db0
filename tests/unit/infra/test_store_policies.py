"""Who may write which tables in the object store, held against the contracts."""

import json
from fnmatch import fnmatchcase

import pytest

import schemas
from lakehouse.infra import infra_file

TABLES = schemas.contracts()


def objects(table: str) -> str:
    """Return the name of an object of a table."""
    return f"arn:aws:s3:::lake/warehouse/{table.replace('.', '/')}/data/x.parquet"


def allowed(role: str, action: str) -> set[str]:
    """Return the tables with whose objects a role may do something; a star spans folders."""
    policy = json.loads(infra_file(f"minio/policies/{role}.json").read_text())
    patterns = [
        pattern
        for statement in policy["Statement"]
        if action in statement["Action"]
        for pattern in statement["Resource"]
    ]
    return {table for table in TABLES if any(fnmatchcase(objects(table), p) for p in patterns)}


def in_layers(*layers: str) -> set[str]:
    return {table for table in TABLES if table.partition(".")[0] in layers}


TWINS = {name for name, contract in TABLES.items() if contract.batch_twin is not None}
WRITTEN = {
    "ingest": in_layers("bronze") | {"ops.file_loads", "ops.redrives"},
    "batch": in_layers("silver", "gold", "ops") | {"bronze.dead_letters"},
    "speed": TWINS | {"ops.poison_events"},
    "serving": set(),
    "operator": {"ops.commands", "ops.erasures"},
    "orchestration": set(TABLES),
}


@pytest.mark.parametrize("role", WRITTEN)
@pytest.mark.parametrize("action", ["s3:PutObject", "s3:DeleteObject"])
def test_a_role_writes_its_own_tables_and_no_others(role: str, action: str) -> None:
    assert allowed(role, action) == WRITTEN[role]


def test_whoever_lands_events_reads_nothing_that_is_made_of_them() -> None:
    assert allowed("ingest", "s3:GetObject") == WRITTEN["ingest"]


@pytest.mark.parametrize("table", sorted(in_layers("silver", "gold") - TWINS))
def test_a_folder_named_like_a_twin_is_no_way_into_another_table(table: str) -> None:
    policy = json.loads(infra_file("minio/policies/speed.json").read_text())
    disguised = objects(table).replace("/data/", "/data_rt/")
    writing = [one for one in policy["Statement"] if "s3:PutObject" in one["Action"]]
    assert not [p for one in writing for p in one["Resource"] if fnmatchcase(disguised, p)]

"""The merged views in Trino: what is made, in which order, and what is left alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest
import sqlglot
from pyiceberg.types import LongType
from sqlglot import exp

import schemas
from lakehouse.settings import Settings
from serving import publication
from serving.publication import NoTrinoError, Outcome, apply, fingerprint, in_order, publish
from serving.views import view_description, view_names, view_sources

CREATED, CHANGED, UNCHANGED = Outcome.CREATED, Outcome.CHANGED, Outcome.UNCHANGED


@dataclass
class FakeTrino:
    """Keeps the comments of views, as Trino does."""

    comments: dict[str, str | None] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)

    def query(self, sql: str) -> pa.Table:
        self.statements.append(sql)
        parsed = sqlglot.parse_one(sql, read="trino")
        if isinstance(parsed, exp.Create) and parsed.kind == "VIEW":
            comment = parsed.find(exp.SchemaCommentProperty)
            assert comment is not None
            self.comments[parsed.find_all(exp.Table).__next__().name] = comment.this.this
        rows = [{"table_name": n, "comment": c} for n, c in self.comments.items()]
        return pa.Table.from_pylist(
            rows, schema=pa.schema({"table_name": pa.string(), "comment": pa.string()})
        )

    def made(self) -> list[str]:
        return [sql for sql in self.statements if sql.startswith("CREATE OR REPLACE VIEW")]

    def relations(self) -> tuple[str, ...]:
        return tuple(self.comments)

    def close(self) -> None:
        self.statements.append("closed")


@pytest.fixture
def trino() -> FakeTrino:
    return FakeTrino()


def outcomes(trino: FakeTrino) -> dict[str, Outcome]:
    return {one.view: one.outcome for one in publish(trino)}


def test_each_view_comes_after_what_it_reads() -> None:
    order = list(in_order())
    assert sorted(order) == sorted(view_names())
    for place, view in enumerate(order):
        assert view_sources(view) & set(view_names()) <= set(order[:place])


def test_views_are_created_once(trino: FakeTrino) -> None:
    assert set(outcomes(trino).values()) == {CREATED}
    assert len(trino.made()) == len(view_names())
    assert set(outcomes(trino).values()) == {UNCHANGED}
    assert len(trino.made()) == len(view_names())


def test_a_view_is_the_definers_and_says_what_it_is(trino: FakeTrino) -> None:
    publish(trino)
    assert trino.statements[0] == "CREATE SCHEMA IF NOT EXISTS lake.serving"
    for view, statement in zip(in_order(), trino.made(), strict=True):
        assert statement.startswith(f"CREATE OR REPLACE VIEW lake.{view} COMMENT '")
        assert "' SECURITY DEFINER AS\nSELECT" in statement
        assert view_description(view).replace("'", "''") in statement


def test_only_what_differs_is_changed(trino: FakeTrino) -> None:
    publish(trino)
    trino.comments["bars_1h"] = "another one's words"
    trino.comments["trades"] = None
    assert outcomes(trino) == dict.fromkeys(view_names(), UNCHANGED) | {
        "serving.bars_1h": CHANGED,
        "serving.trades": CHANGED,
    }


def test_what_is_not_ours_is_reported_and_left_alone(trino: FakeTrino) -> None:
    trino.comments["of_an_analyst"] = "mine"
    assert outcomes(trino)["serving.of_an_analyst"] == Outcome.FOREIGN
    assert trino.comments["of_an_analyst"] == "mine"
    assert not any("DROP" in statement.upper() for statement in trino.statements)


def test_a_view_is_made_again_when_a_column_behind_it_has_another_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {view: fingerprint(view) for view in view_names()}
    contract = schemas.contract("gold.bars_1m")
    columns: Sequence[schemas.Column] = [
        replace(c, type=LongType()) if c.name == "volume" else c for c in contract.columns
    ]
    evolved = replace(contract, columns=tuple(columns))
    known = {**schemas.contracts(), contract.name: evolved}
    monkeypatch.setattr(publication.schemas, "contract", known.__getitem__)
    changed = {view for view in view_names() if fingerprint(view) != before[view]}
    roll_ups = {"serving.bars_1h", "serving.market_daily"}
    assert changed == {"serving.bars_1m", *roll_ups, "serving.positions"}


def test_an_embedded_home_is_told_so(settings: Settings) -> None:
    with pytest.raises(NoTrinoError, match="has no Trino"):
        apply(settings)


def test_the_engine_is_closed(
    trino: FakeTrino, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "sql_engine", lambda _: trino)
    apply(settings.model_copy(update={"trino": "https://localhost:8443"}))
    assert trino.statements[-1] == "closed"

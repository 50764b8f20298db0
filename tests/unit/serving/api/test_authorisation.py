"""Who reaches what: every path with every kind of key."""

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from calling import client_of
from fastapi import FastAPI
from posted import BODIES, CORRECTIONS, ERASURES, ask, keyed
from starlette.testclient import TestClient

from serving.api.keys import DATASETS, ApiKeys, Role
from serving.api.relations import Dataset

pytestmark = pytest.mark.serving

STATUS = "/v1/commands/{command}"


class Row(NamedTuple):
    """A path, and who is let in.

    Attributes:
        dataset: What a key must be scoped for; None where anybody is let in.
        role: The least that a key must be of.
        allowed: How those who may ask are answered.
        command: Where the command was asked for that is asked after.
    """

    path: str
    dataset: Dataset | None
    role: Role = "reader"
    allowed: int = 200
    command: str | None = None


# There is neither a log here, nor a live tier, nor a row of features.
MATRIX = (
    Row("/v1/bars", "market"),
    Row("/v1/trades", "market"),
    Row("/v1/spreads", "market"),
    Row("/v1/market/daily", "market"),
    Row("/v1/instruments", "market"),
    Row("/v1/predictions", "market"),
    Row("/v1/predictions:score", "market", allowed=404),
    Row("/v1/positions/{customer}", "clients"),
    Row("/v1/reconciliations", "operations"),
    Row("/v1/dead-letters", "operations"),
    Row("/v1/lag", "operations", allowed=503),
    Row("/v1/stream", "market", allowed=503),
    Row(CORRECTIONS, "market", "operator", allowed=202),
    Row(ERASURES, "clients", "operator", allowed=202),
    Row(STATUS, "market", "operator", command=CORRECTIONS),
    Row(STATUS, "clients", "operator", command=ERASURES),
    Row("/health/live", None),
    Row("/health/ready", None),
)
POSTED: dict[str, dict[str, Any]] = BODIES | {
    "/v1/predictions:score": {"venue": "binance_spot", "symbol": "NONE"}
}
ROLES: tuple[Role, ...] = ("reader", "operator")
SCOPES: tuple[tuple[Dataset, ...], ...] = (*((dataset,) for dataset in DATASETS), DATASETS)
Scoped = dict[tuple[Role, tuple[Dataset, ...]], str]
STRANGERS = ("nobody", "garbage", "expired", "revoked")


@pytest.fixture(scope="module")
def scoped(keys: ApiKeys) -> Scoped:
    """A key of each role for each dataset, and for all."""
    return {
        (role, datasets): keys.create("somebody", role=role, datasets=datasets)
        for role in ROLES
        for datasets in SCOPES
    }


@pytest.fixture(scope="module")
def strangers(keys: ApiKeys) -> dict[str, str | None]:
    """What opens nothing, though it would open everything if it were valid."""
    revoked = keys.create("revoked", role="operator", datasets=DATASETS)
    keys.revoke(revoked.split("_")[1])
    expired = keys.create("expired", role="operator", datasets=DATASETS, lifetime=timedelta(0))
    opened = (None, "lh_garbage_garbage", expired, revoked)
    return dict(zip(STRANGERS, opened, strict=True))


@pytest.fixture(scope="module")
def commands(client: TestClient) -> dict[str, str]:
    """The id of a command of each kind."""
    return {path: ask(client, path).json()["id"] for path in BODIES}


def test_every_path_is_in_the_matrix(api: FastAPI) -> None:
    assert set(api.openapi()["paths"]) == {row.path for row in MATRIX}


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.path} {row.dataset}")
def test_each_path_with_each_key(
    api: FastAPI,
    scoped: Scoped,
    strangers: dict[str, str | None],
    commands: dict[str, str],
    row: Row,
) -> None:
    (method,) = api.openapi()["paths"][row.path]
    path = row.path.format(customer="C-1", command=commands.get(row.command or ""))

    def check(key: str | None, wanted: int, who: object) -> None:
        caller = client_of(api, key)
        answer = caller.request(method, path, json=POSTED.get(path), headers=keyed())
        assert answer.status_code == wanted, (path, who, answer.text)
        if wanted == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")
        if wanted >= 400:
            assert answer.headers["content-type"] == "application/problem+json"

    for who, key in strangers.items():
        check(key, 401 if row.dataset else row.allowed, who)
    for (role, datasets), key in scoped.items():
        reached = row.dataset is None or row.dataset in datasets
        may = reached and ROLES.index(role) >= ROLES.index(row.role)
        check(key, row.allowed if may else 403, (role, datasets))


def test_clients_are_followed_by_keys_for_clients_only(api: FastAPI, scoped: Scoped) -> None:
    market = client_of(api, scoped["reader", ("market",)])
    answer = market.get("/v1/stream", params={"relation": ["bars_1m", "positions"]})
    assert answer.status_code == 403
    assert "not scoped for clients" in answer.json()["detail"]

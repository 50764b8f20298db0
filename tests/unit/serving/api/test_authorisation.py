"""Who reaches what: every path with every kind of key."""

from datetime import timedelta

import pytest
from calling import client_of
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api.keys import DATASETS, ApiKeys

pytestmark = pytest.mark.serving

# What a key must be scoped for; None where anybody is let in. A path that is missing here fails.
NEEDED = {
    "/v1/bars": {"market"},
    "/v1/trades": {"market"},
    "/v1/spreads": {"market"},
    "/v1/market/daily": {"market"},
    "/v1/instruments": {"market"},
    "/v1/predictions": {"market"},
    "/v1/predictions:score": {"market"},
    "/v1/positions/{customer}": {"clients"},
    "/v1/reconciliations": {"operations"},
    "/v1/dead-letters": {"operations"},
    "/v1/lag": {"operations"},
    "/v1/stream": {"market"},
    "/health/live": None,
    "/health/ready": None,
}
BODIES = {"/v1/predictions:score": {"venue": "binance_spot", "symbol": "NONE"}}
# There is neither a log here, nor a live tier, nor a row of features.
ALLOWED = {"/v1/stream": 503, "/v1/lag": 503, "/v1/predictions:score": 404}
ROLES = {
    "nobody": None,
    "garbage": None,
    "expired": None,
    "revoked": None,
    "market": {"market"},
    "clients": {"clients"},
    "operations": {"operations"},
    "all": set(DATASETS),
}


@pytest.fixture(scope="module")
def by_role(keys: ApiKeys) -> dict[str, str | None]:
    made = {
        role: keys.create(role, datasets=sorted(reached))
        for role, reached in ROLES.items()
        if reached
    }
    revoked = keys.create("revoked", datasets=DATASETS)
    keys.revoke(revoked.split("_")[1])
    expired = keys.create("expired", datasets=DATASETS, lifetime=timedelta(0))
    return made | {
        "nobody": None,
        "garbage": "lh_garbage_garbage",
        "revoked": revoked,
        "expired": expired,
    }


def test_every_path_is_in_the_matrix(api: FastAPI) -> None:
    # Commands take an operator: test_commands.py has them with each kind of key.
    paths = {path for path in api.openapi()["paths"] if not path.startswith("/v1/commands/")}
    assert paths == set(NEEDED)


@pytest.mark.parametrize("path", NEEDED)
def test_each_path_with_each_key(
    client: TestClient, api: FastAPI, by_role: dict[str, str | None], path: str
) -> None:
    (method,) = api.openapi()["paths"][path]
    for role, reached in ROLES.items():
        caller, asked = client_of(api, by_role[role]), path.replace("{customer}", "C-1")
        answer = caller.request(method, asked, json=BODIES.get(path))
        needed = NEEDED[path]
        if needed is None:
            allowed = {200}
        elif reached is None:
            allowed = {401}
            assert answer.headers["www-authenticate"].startswith("Bearer")
        elif not needed <= reached:
            allowed = {403}
        else:
            allowed = {ALLOWED.get(path, 200)}
        assert answer.status_code in allowed, (path, role, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"


def test_clients_are_followed_by_keys_for_clients_only(
    client: TestClient, api: FastAPI, by_role: dict[str, str | None]
) -> None:
    market = client_of(api, by_role["market"])
    answer = market.get("/v1/stream", params={"relation": ["bars_1m", "positions"]})
    assert answer.status_code == 403
    assert "not scoped for clients" in answer.json()["detail"]

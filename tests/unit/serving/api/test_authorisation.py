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
    "/v1/positions/{customer}": {"clients"},
    "/v1/reconciliations": {"operations"},
    "/v1/dead-letters": {"operations"},
    "/v1/lag": {"operations"},
    "/v1/stream": {"market"},
    "/session": set(),
    "/health/live": None,
    "/health/ready": None,
}
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
    (method,) = [m for m in api.openapi()["paths"][path] if m != "delete"]
    for role, reached in ROLES.items():
        answer = client_of(api, by_role[role]).request(method, path.replace("{customer}", "C-1"))
        needed = NEEDED[path]
        if needed is None:
            allowed = {200}
        elif reached is None:
            allowed = {401}
            assert answer.headers["www-authenticate"].startswith("Bearer")
        elif not needed <= reached:
            allowed = {403}
        else:
            allowed = {503} if path in ("/v1/stream", "/v1/lag") else {200, 204}
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


def test_a_session_reads_by_cookie_and_changes_nothing(
    client: TestClient, api: FastAPI, everything: str
) -> None:
    browser = client_of(api, None)
    begun = browser.post("/session", headers={"Authorization": f"Bearer {everything}"})
    assert begun.status_code == 204
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.get("/v1/bars").status_code == 200
    assert browser.post("/session").status_code == 401
    assert browser.delete("/session").status_code == 204
    assert browser.get("/v1/bars").status_code == 401

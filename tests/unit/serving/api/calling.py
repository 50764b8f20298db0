"""Calling an application without a network, and waiting for what it does by itself."""

from collections.abc import Callable
from time import monotonic, sleep

from fastapi import FastAPI
from starlette.testclient import TestClient

# Between two looks: a loop without rest takes the time that what it waits for needs.
PAUSE_SECONDS = 0.01


def client_of(api: FastAPI, key: str | None) -> TestClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(api, headers=headers, raise_server_exceptions=False)


def eventually(happens: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = monotonic() + seconds
    while not happens():
        assert monotonic() < ends, "it did not happen"
        sleep(PAUSE_SECONDS)

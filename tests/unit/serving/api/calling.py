"""Calling an application without a network, and waiting for what it does by itself."""

from collections.abc import Callable
from time import monotonic, sleep

from fastapi import FastAPI
from starlette.testclient import TestClient


def client_of(api: FastAPI, key: str | None) -> TestClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(api, headers=headers, raise_server_exceptions=False)


def eventually(happens: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = monotonic() + seconds
    while not happens():
        assert monotonic() < ends, "it did not happen"
        sleep(0.01)  # a core for whoever is to make it happen

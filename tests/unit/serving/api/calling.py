"""Calling an application without a network."""

from fastapi import FastAPI
from starlette.testclient import TestClient


def client_of(api: FastAPI, key: str | None) -> TestClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(api, headers=headers, raise_server_exceptions=False)

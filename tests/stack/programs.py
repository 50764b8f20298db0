"""A program that asks the stack's API: over TLS, with a key of its own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from stack.running import RunningStack

from lakehouse.stack import api
from serving.api.keys import DATASETS, ApiKeys

# Longer than the API takes to any answer.
SECONDS = 40.0


@dataclass(frozen=True)
class Program:
    """Who asks, and where."""

    address: str
    authority: str
    key: str

    def get(self, path: str, **asked: Any) -> requests.Response:
        """Ask for a path; what is asked is said as `requests` has it."""
        return self._send("GET", path, **asked)

    def post(self, path: str, **asked: Any) -> requests.Response:
        return self._send("POST", path, **asked)

    def _send(self, method: str, path: str, **asked: Any) -> requests.Response:
        asked["headers"] = {"Authorization": f"Bearer {self.key}", **asked.get("headers", {})}
        at = f"{self.address}{path}"
        return requests.request(method, at, timeout=SECONDS, verify=self.authority, **asked)


@contextmanager
def program_of(stack: RunningStack, name: str) -> Iterator[Program]:
    """Let a program in, as an operator of all datasets, as `lakehouse api keys create` does it."""
    with closing(ApiKeys.of(stack.role("serving"))) as keys:
        key = keys.create(name, role="operator", datasets=DATASETS)
        address = f"https://{stack.installation.address(api.NAME)}"
        yield Program(address, str(stack.installation.authority.file), key)
        found = keys.find(key)
        assert found is not None
        keys.revoke(found.id)

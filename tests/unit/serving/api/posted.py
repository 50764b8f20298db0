"""Commands as clients post them."""

import uuid
from typing import Any

from starlette.testclient import TestClient

CORRECTIONS, ERASURES = "/v1/commands/trade-corrections", "/v1/commands/erasures"
CORRECTION = {
    "kind": "correction",
    "venue": "binance_spot",
    "symbol": "BTCUSDT",
    "trade_id": 7,
    "event_time": "2024-08-08T23:59:30Z",
    "price": "61699.20",
    "quantity": "0.25",
}
BODIES = {CORRECTIONS: CORRECTION, ERASURES: {"customer_id": "C-1"}}


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def ask(client: TestClient, path: str = CORRECTIONS, **changes: Any) -> Any:
    return client.post(path, json=BODIES[path] | changes, headers=keyed())

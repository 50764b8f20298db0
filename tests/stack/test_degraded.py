"""Trino is killed and comes back: what programs get of the API meanwhile, and how soon all of it.

`test_outages` takes every server away under load and counts again; this asks what answers are made
of, in some two minutes.
"""

import time
from datetime import timedelta

import pytest
from stack.programs import Program
from stack.running import RunningStack

from lakehouse import operations
from lakehouse.components import READY
from serving.client import ApiError, Client, Rows

pytestmark = [
    pytest.mark.stack,
    pytest.mark.serving,
    pytest.mark.drill,
    pytest.mark.timeout(600),
]

TRINO = "trino"
# Three looks that find it away, five seconds each at most, and what is between them.
NOTICED_SECONDS = 30.0
# What docs/outages.md promises.
RECOVERED_SECONDS = 180.0


def trades_of(answer: Rows) -> int:
    return sum(answer.table["trade_count"].to_pylist())


def told(answer: Rows) -> str:
    return answer.degraded or ""


def test_trino_killed_makes_answers_poorer_and_no_more_than_that(
    stack: RunningStack, program: Program, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    symbol = f"KILLED_{time.time_ns()}"
    first = stack.trade(symbol)

    def merged() -> Rows:
        return client.bars(symbol=symbol)

    stack.wait_until(lambda: trades_of(merged()) == 1, "the first trade is in the merged view")
    stack.kill(TRINO)

    stack.trade(symbol)
    stack.wait_until(
        lambda: trades_of(answer := merged()) == 2 and "rows of tables are" in told(answer),
        "what was asked before has the newer trade, and says which rows are older",
    )
    since = first["event_time"] - timedelta(minutes=1)
    unasked = client.bars(symbol=symbol, start=since)
    assert "rows that the live tier holds" in told(unasked)
    assert unasked.table == client.bars(symbol=symbol, start=since, tier="live").table
    for asked in ({"path": "/v1/trades"}, {"path": "/v1/bars", "tier": "reconciled"}):
        refused = program.get(asked.pop("path"), params={"symbol": symbol, **asked})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert int(refused.headers["Retry-After"]) >= 1

    def is_known_to_be_away() -> bool:
        ready = program.get("/health/ready")
        assert ready.status_code == 200, ready.text
        return bool(ready.json()["checks"]["engine"] == "away")

    stack.wait_until(
        is_known_to_be_away, "the API says that it is away", deadline_seconds=NOTICED_SECONDS
    )

    def is_whole() -> bool:
        try:
            confirmed = client.bars(symbol=symbol, tier="reconciled")
            return merged().degraded is None and confirmed.degraded is None
        except ApiError as error:
            if error.status != 504:  # Trino's first queries compile, for longer than the API waits
                raise
            return False

    stack.restart(TRINO)
    seconds = stack.wait_until(is_whole, "answers are whole again")
    with capsys.disabled():
        print(f"\nTrino was killed: the API whole again {seconds:.1f} s after it was back", end="")
    assert trades_of(merged()) == 2
    assert seconds < RECOVERED_SECONDS

    def all_are_well() -> bool:
        return {one.health for one in operations.status(stack.settings)} == {READY}

    stack.wait_until(all_are_well, "all of the stack is ready")

"""Every table and view that the streams lead to, held against one naive pass over the log."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from accounting import HIDDEN, TRADE_KEY, Judged, check_accounts, dead_letters, judge
from chaos.load import REFUSED, STREAMS
from customer_oracle import BUSINESS, Said, in_order_pass, naive_activity
from embedded_lake import EmbeddedLake

from demo.judge import judge_as_stated
from demo.oracle import (
    LoggedEvent,
    compare,
    naive_bars,
    naive_days,
    naive_hours,
    naive_trades,
    rejections,
)
from demo.positions_oracle import fill_rejections, naive_fills, naive_positions
from demo.quotes import naive_quotes, naive_spreads, quote_rejections
from lakehouse.kafka import (
    CUSTOMERS_TOPIC,
    DEAD_LETTERS_TOPIC,
    FILLS_TOPIC,
    QUOTES_TOPIC,
    TRADES_TOPIC,
)
from schemas.registry import schema_registry

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_KEY = ("venue", "symbol", "window_start")
QUOTE_KEY = ("venue", "symbol", "update_id", "minute")
ACTIVITY_KEY = ("business_date", "customer_id", *BUSINESS)
RULES = {
    TRADES_TOPIC: rejections,
    QUOTES_TOPIC: quote_rejections,
    FILLS_TOPIC: fill_rejections,
    # The simulated CRM says nothing that would be refused.
    CUSTOMERS_TOPIC: lambda _change, _at: (),
}
# By what the commands that send call it.
TOPICS_OF = {
    "market": (TRADES_TOPIC, QUOTES_TOPIC),
    "fills": (FILLS_TOPIC,),
    "customers": (CUSTOMERS_TOPIC,),
    REFUSED: (DEAD_LETTERS_TOPIC,),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Logs:
    """All topics, as a reader that is no part of the platform understands them.

    Attributes:
        judged: By topic of events.
        refused_by_producers: How many frames never became an event.
    """

    judged: Mapping[str, Judged]
    refused_by_producers: int

    @classmethod
    def read(cls, lake: EmbeddedLake) -> "Logs":
        """Read the topics as they are now."""
        registry = schema_registry(lake.settings)
        judged = {
            topic: judge(lake.log(topic), registry, topic, rules) for topic, rules in RULES.items()
        }
        return cls(judged, len(lake.log(DEAD_LETTERS_TOPIC)))

    def messages(self, topic: str) -> int:
        """How many messages a topic has."""
        if topic == DEAD_LETTERS_TOPIC:
            return self.refused_by_producers
        return len(self.judged[topic].records)

    def repeated(self, topic: str) -> int:
        """How many accepted events of a topic say nothing new."""
        reports = [name for event in self.events(topic) if (name := _report(topic, event.event))]
        return len(reports) - len(set(reports))

    def events(self, topic: str) -> list[LoggedEvent]:
        """Return the accepted events of a topic."""
        return self.judged[topic].events

    @cached_property
    def customer_states(self) -> list[dict[str, Any]]:
        """Rows of the history of customers."""
        told = in_order_pass(_said(event.event) for event in self.events(CUSTOMERS_TOPIC))
        return [
            {
                "customer_id": customer,
                "valid_from": start,
                "valid_to": end,
                "is_current": end is None,
                "source_position": position,
                **dict(state),
            }
            for customer, start, end, state, position in told
        ]


def _report(topic: str, event: Row) -> Hashable:
    """Return what an event reports, if it can be reported twice."""
    if topic == CUSTOMERS_TOPIC:
        return _said(event)
    if topic == QUOTES_TOPIC:
        minute = event["event_time"].replace(second=0, microsecond=0)
        return event["venue"], event["symbol"], event["update_id"], minute
    if topic == FILLS_TOPIC:
        return (event["customer_id"], event["fill_id"]) if event["event_type"] == "FILL" else None
    if event["event_type"] != "TRADE":
        return None
    return tuple(event[name] for name in TRADE_KEY)


def _said(change: Row) -> Said:
    source, after = change["source"], change["after"]
    state = None
    if after is not None:
        state = tuple((name, value) for name, value in after.items() if name != "customer_id")
    return Said(
        (after or change["before"])["customer_id"],
        source["lsn"],
        source["snapshot"],
        EPOCH + timedelta(microseconds=source["ts_us"]),
        state,
    )


def check_log(logs: Logs, sent: Counter[str]) -> None:
    """The log has what was acknowledged, and no more."""
    assert set(sent) == {*STREAMS.values(), REFUSED}
    found = {stream: sum(map(logs.messages, topics)) for stream, topics in TOPICS_OF.items()}
    assert found == dict(sent)


def check_bronze(lake: EmbeddedLake, logs: Logs) -> dict[str, int]:
    """Every message is in bronze or among the dead letters, once; return how many by topic."""
    accounted = {
        topic: check_accounts(lake, judged, topic) for topic, judged in logs.judged.items()
    }
    frames = dead_letters(lake, "producer", DEAD_LETTERS_TOPIC)
    assert frames.total() == len(frames) == logs.refused_by_producers
    return accounted | {DEAD_LETTERS_TOPIC: frames.total()}


def check_refusals(lake: EmbeddedLake, logs: Logs) -> None:
    """What breaks a rule is a dead letter of batch, once."""
    for topic, judged in logs.judged.items():
        assert dead_letters(lake, "batch", topic) == Counter(dict.fromkeys(judged.refused, 1)), (
            topic
        )


def check_views(lake: EmbeddedLake, logs: Logs) -> dict[str, set[str]]:
    """Every merged view is what the oracle says; return the statuses of each one's rows."""
    trades, quotes, fills = map(logs.events, (TRADES_TOPIC, QUOTES_TOPIC, FILLS_TOPIC))
    by_minute = {key: {**row, "minute": key[-1]} for key, row in naive_quotes(quotes).items()}
    questions: dict[str, tuple[Mapping[Any, Any], tuple[str, ...]]] = {
        "trades": (naive_trades(trades), TRADE_KEY),
        "bars_1m": (naive_bars(trades), MINUTE_KEY),
        "bars_1h": (naive_hours(trades), MINUTE_KEY),
        "market_daily": (naive_days(trades), ("venue", "symbol", "business_date")),
        "quotes": (by_minute, QUOTE_KEY),
        "spreads_1m": (naive_spreads(quotes), MINUTE_KEY),
        "fills": (naive_fills(fills), ("customer_id", "fill_id")),
        "positions": (naive_positions(fills), ("customer_id", "venue", "symbol")),
    }
    statuses = {}
    for view, (expected, key) in questions.items():
        minute = ", date_trunc('minute', event_time) AS minute" if "minute" in key else ""
        rows = lake.rows(f"SELECT *{minute} FROM serving.{view}")
        _equal(view, expected, rows, key)
        statuses[view] = {row["status"] for row in rows}
    return statuses


def check_batch_tables(lake: EmbeddedLake, logs: Logs) -> None:
    """What only batch makes is what the oracle says: customers, and what they did."""
    states = logs.customer_states
    fills = naive_fills(logs.events(FILLS_TOPIC)).values()
    lives = [
        (state["customer_id"], state["valid_from"], state["valid_to"], state) for state in states
    ]
    _equal(
        "silver.customers",
        dict(enumerate(states)),
        lake.rows("SELECT * FROM silver.customers"),
        ("customer_id", "valid_from"),
    )
    _equal(
        "gold.customer_activity_daily",
        naive_activity(fills, lives),
        lake.rows("SELECT * FROM gold.customer_activity_daily"),
        ACTIVITY_KEY,
    )


def check_as_stated(lake: EmbeddedLake) -> int:
    """In the midst of things, every bar is exact as of the position that it states.

    Returns:
        How many there are.
    """
    rows = lake.rows("SELECT * FROM serving.bars_1m")
    # Read after the view: it has whatever a row has seen.
    log = judge(lake.log(), schema_registry(lake.settings)).events
    verdict = judge_as_stated(log, rows)
    assert verdict.equal, str(verdict)
    return verdict.rows


def _equal(
    what: str, expected: Mapping[Any, Any], rows: Iterable[Row], key: tuple[str, ...]
) -> None:
    verdict = compare(expected, rows, key=key, ignore=HIDDEN)
    assert verdict.equal, f"{what}: {verdict}"
    assert verdict.rows, f"{what} is empty"

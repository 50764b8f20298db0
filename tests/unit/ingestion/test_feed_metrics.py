"""The live feed's counts, as a scrape finds them."""

from prometheus_client import CollectorRegistry

from ingestion.feed import ConnectionCounts, TradeSequence
from ingestion.feed_metrics import FeedMetrics
from ingestion.intake import IntakeCounts


def test_a_scrape_finds_the_present_counts() -> None:
    counts, connection, sequence = IntakeCounts(), ConnectionCounts(), TradeSequence()
    registry = CollectorRegistry()
    registry.register(FeedMetrics(counts, connection, sequence))
    assert registry.get_sample_value("lakehouse_feed_frames_total") == 0
    counts.frames, counts.bytes = 3, 300
    counts.events["binance_spot:BTCUSDT"] += 2
    counts.rejected["not_json"] += 1
    connection.connections = 4
    connection.drops["StalledError"] += 1
    sequence.observe("BTCUSDT", 10)
    sequence.observe("BTCUSDT", 14)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"lakehouse_feed_{name}_total", labels)

    assert (value("frames"), value("bytes")) == (3, 300)
    assert value("events", instrument="binance_spot:BTCUSDT") == 2
    assert value("rejected", reason="not_json") == 1
    assert value("connections") == 4
    assert value("drops", cause="StalledError") == 1
    assert value("gaps") == 1
    assert value("missing_trades") == 3

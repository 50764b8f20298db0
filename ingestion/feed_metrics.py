"""What the live feed counts, as Prometheus asks for it; docs/metrics.md has a line on each."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ingestion.feed import ConnectionCounts, TradeSequence
from ingestion.intake import IntakeCounts


class FeedMetrics(Collector):
    """Reads the counts that the feed keeps anyway, when it is asked.

    Args:
        intake: What became of the frames.
        connection: What the connection went through.
        sequence: Which trades were left out.
    """

    def __init__(
        self, intake: IntakeCounts, connection: ConnectionCounts, sequence: TradeSequence
    ) -> None:
        self._intake = intake
        self._connection = connection
        self._sequence = sequence

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the metrics without values."""
        for family, _ in self._families():
            yield family

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts so far."""
        for family, values in self._families():
            for labels, value in values:
                family.add_metric(labels, value)
            yield family

    def _families(
        self,
    ) -> Iterator[tuple[CounterMetricFamily, Iterable[tuple[list[str], float]]]]:
        counts, sequence = self._intake, self._sequence
        named = (
            ("frames", "Frames received.", counts.frames),
            ("bytes", "Bytes of these frames.", counts.bytes),
            ("connections", "Connections made.", self._connection.connections),
            ("gaps", "Places where trades were left out.", sequence.gaps),
            ("missing_trades", "Trades that were left out, by their ids.", sequence.missing_trades),
            ("repeated_trades", "Trades that came again.", sequence.repeated_trades),
        )
        for name, meaning, value in named:
            yield CounterMetricFamily(f"lakehouse_feed_{name}", meaning), [([], value)]
        drops = self._connection.drops
        labelled = (
            ("events", "Events sent to the log.", "instrument", counts.events),
            ("rejected", "Frames refused.", "reason", counts.rejected),
            ("drops", "Connections that ended or never came about.", "cause", drops),
        )
        for name, meaning, label, counter in labelled:
            family = CounterMetricFamily(f"lakehouse_feed_{name}", meaning, labels=[label])
            # A copy: the feed goes on counting meanwhile.
            yield family, [([key], value) for key, value in dict(counter).items()]

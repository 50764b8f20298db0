"""The table of our metrics in docs/metrics.md, from the modules that declare them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from ingestion.feed import ConnectionCounts, TradeSequence
from ingestion.feed_metrics import FeedMetrics
from ingestion.files import metrics as files
from ingestion.intake import IntakeCounts
from ingestion.lander import metrics as lander
from lakehouse import telemetry
from lakehouse.histograms import ArrayHistogram
from serving.api import metrics as api
from serving.commands import metrics as commands
from serving.exporter import audit, families
from serving.live import metrics as live
from speed import metrics as speed

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- made by `make dashboards` from here -->", "<!-- to here -->"
_HISTOGRAM_SAMPLES = ("_bucket", "_sum", "_count")


@dataclass(frozen=True)
class OurMetric:
    """One metric as a scrape shows it."""

    name: str
    type: str
    job: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which queries find it."""
        if self.type == "histogram":
            return tuple(f"{self.name}{suffix}" for suffix in _HISTOGRAM_SAMPLES)
        return (self.name,)


def our_metrics() -> list[OurMetric]:
    """Return every metric that our processes expose, by process and name."""
    build = telemetry.BUILD
    found = [
        OurMetric(f"{build._name}_info", "info", "all", ("version", "python"), build._documentation)
    ]
    found += _declared(lander, "lander")
    feed = FeedMetrics(IntakeCounts(), ConnectionCounts(), TradeSequence())
    found += [
        OurMetric(
            f"{family.name}_total", "counter", "feed", family._labelnames, family.documentation
        )
        for family in feed.describe()
    ]
    found += _declared(files, "files")
    found += _declared(commands, "commands")
    found += _declared(speed, "speed")
    found += _declared(live, "live")
    found += _declared(api, "api")
    found += [
        OurMetric(family.name, "gauge", "speed", ("table",), family.documentation)
        for family in speed.Freshness(None).describe()
    ]
    for family in families.FAMILIES.values():
        kind, suffix = ("counter", "_total") if family.is_counter else ("gauge", "")
        name = f"{family.name}{suffix}"
        found.append(OurMetric(name, kind, "metrics", family.labels, family.documentation))
    found.append(_of_arrays(audit.Runs().seconds, "metrics"))
    return sorted(found, key=lambda metric: (metric.job, metric.name))


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| metric | type | process | labels | meaning |", "|---|---|---|---|---|"]
    for metric in our_metrics():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        lines.append(
            f"| `{metric.name}` | {metric.type} | {metric.job} | {labels} | {metric.meaning} |"
        )
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return a page with the table in its place."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _declared(module: object, job: str) -> Iterator[OurMetric]:
    for value in vars(module).values():
        if isinstance(value, ArrayHistogram):
            yield _of_arrays(value, job)
        elif isinstance(value, MetricWrapperBase):
            name = f"{value._name}_total" if value._type == "counter" else value._name
            yield OurMetric(
                name, value._type or "untyped", job, tuple(value._labelnames), value._documentation
            )


def _of_arrays(histogram: ArrayHistogram, job: str) -> OurMetric:
    return OurMetric(histogram.name, "histogram", job, histogram.labels, histogram.documentation)

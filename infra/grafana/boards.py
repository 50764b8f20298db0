"""What a dashboard is made of, and how Grafana's JSON is made from it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)

DATASOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "lakehouse"
# As long as two looks of the slowest reader; our processes are asked every five seconds.
REFRESH = "10s"
# A row of panels is 24 units wide.
STATS_WIDE, STATS_HIGH = 4, 4
PANELS_WIDE, PANELS_HIGH = 8, 8
DASHED = {"fill": "dash", "dash": [8, 8]}

# Which of Prometheus's jobs a metric comes from, by how its name begins; the longest counts.
_JOBS = {
    "lakehouse_lander_": ("lander",),
    "lakehouse_feed_": ("feed",),
    "lakehouse_speed_": ("speed",),
    "lakehouse_live_": ("live",),
    "lakehouse_api_": ("api",),
    "lakehouse_": ("metrics",),
    "table:lakehouse_": ("metrics", "speed"),
    "view:lakehouse_": ("metrics", "speed"),
    "kafka_": ("kafka",),
    "minio_": ("minio",),
    "minio_bucket_": ("minio-bucket",),
    "trino_": ("trino",),
    "pg_": ("postgresql",),
    "metrics_": ("spark",),
    "rest_requests_": ("registry",),
    "agroal_": ("registry",),
}
_NAME = re.compile(r"\b(?:table:|view:)?[a-z]+_[A-Za-z0-9_:]+")


@dataclass(frozen=True)
class Query:
    """One PromQL query, and what its series are called."""

    expr: str
    legend: str = ""

    @property
    def jobs(self) -> frozenset[str]:
        """The jobs that must be scraped for the query to return something."""
        found = set(re.findall(r'job="([\w-]+)"', self.expr))
        for name in metric_names(self.expr):
            known = [prefix for prefix in _JOBS if name.startswith(prefix)]
            if known:
                found.update(_JOBS[max(known, key=len)])
        return frozenset(found)


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What is shown.
        description: What it means, and what is normal.
        queries: What is asked.
        unit: Grafana's name of the unit.
        kind: A line over time, or the present value in large.
        limit: Values from here on are red; none where a value by itself is neither good nor bad.
        low_is_bad: Values below the limit are red instead.
        runbook: The alert whose page tells what to do.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Literal["lines", "stat"] = "lines"
    limit: float | None = None
    low_is_bad: bool = False
    runbook: str | None = None


@dataclass(frozen=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard; its uid is its file's name and never changes."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Yield all panels in order."""
        for row in self.rows:
            yield from row.panels

    def to_json(self) -> str:
        """Return the dashboard as Grafana reads it."""
        built = (
            grafana.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags([TAG])
            .timezone("utc")
            .refresh(REFRESH)
            .time("now-30m", "now")
            .readonly()
            .link(
                grafana.DashboardLink("Lakehouse")
                .type(DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .keep_time(True)
            )
        )
        for row in self.rows:
            built = built.with_row(grafana.Row(row.title))
            for panel in row.panels:
                built = built.with_panel(_built(panel))
        return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def metric_names(expr: str) -> set[str]:
    """Return what looks like metrics in a query; functions have a bracket behind them."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}', "", expr)
    plain = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", plain)
    names = {match.group() for match in _NAME.finditer(plain)}
    called = set(re.findall(r"([a-z_]+)\s*\(", plain))
    return names - called


def percentiles(metric: str, *, by: str, window: str = "5m") -> tuple[Query, ...]:
    """Return the median, the 95th and the 99th percentile of a histogram, by a label."""
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket[{window}])))",
            f"p{round(q * 100)} {{{{{by}}}}}",
        )
        for q in (0.5, 0.95, 0.99)
    )


def or_zero(expr: str, like: str) -> str:
    """Return a query that is 0, while ``like`` is known, where nothing was ever counted."""
    return f"{expr} or 0 * {like}"


def _built(panel: Panel) -> timeseries.Panel | stat.Panel:
    built: timeseries.Panel | stat.Panel
    if panel.kind == "stat":
        built = stat.Panel().span(STATS_WIDE).height(STATS_HIGH)
    else:
        built = (
            timeseries.Panel()
            .span(PANELS_WIDE)
            .height(PANELS_HIGH)
            .min(0)
            .fill_opacity(8)
            .legend(
                common.VizLegendOptions()
                .show_legend(True)
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
            )
            .override_by_regexp("/contract/", [DynamicConfigValue("custom.lineStyle", DASHED)])
        )
    built = built.title(panel.title).description(_description(panel)).unit(panel.unit)
    built = built.datasource(DATASOURCE).thresholds(_thresholds(panel))
    for number, query in enumerate(panel.queries):
        built = built.with_target(
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + number))
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
        )
    return built


def _description(panel: Panel) -> str:
    if panel.runbook is None:
        return panel.description
    return f"{panel.description}\n\nWhat to do: docs/runbook/{panel.runbook}.md"


def _thresholds(panel: Panel) -> grafana.ThresholdsConfig:
    good, bad = "green", "red"
    steps = [Threshold(None, good)]
    if panel.limit is not None:
        steps = (
            [Threshold(None, bad), Threshold(panel.limit, good)]
            if panel.low_is_bad
            else [Threshold(None, good), Threshold(panel.limit, bad)]
        )
    return grafana.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)

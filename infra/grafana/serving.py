"""Who answers readers: the merged views, the API, Trino, the registry, and the exporter itself."""

from infra.grafana.boards import Board, Panel, Query, Row, or_zero, percentiles
from schemas import contract

_MANAGER = "trino_execution_name_QueryManager"
_REGISTRY = "rest_requests_seconds_count"
_REQUESTS = "lakehouse_api_request_seconds_count"


def _checked(measures: str, *, by: str) -> Query:
    """Ask for the greatest values of some measures, where a model was ever measured."""
    return Query(
        or_zero(
            f"max by ({by}) (lakehouse_model_check_value{{{measures}}})",
            'max(lakehouse_exporter_up{source="model_checks"})',
        ),
        " ".join(f"{{{{{label}}}}}" for label in by.split(", ")),
    )


BOARD = Board(
    "lakehouse-serving",
    "Lakehouse: serving",
    "The merged views, and the processes that answer questions about them.",
    (
        Row(
            "Merged views",
            (
                Panel(
                    "Freshness",
                    "Age of the oldest event that a view does not show.",
                    (Query("view:lakehouse_freshness_seconds:max", "{{view}}"),),
                    unit="s",
                    limit=contract("gold.bars_1m_rt").freshness_seconds,
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Speed layer: micro-batches",
                    "Time of a micro-batch; the views move at this pace.",
                    tuple(
                        Query(
                            f"histogram_quantile({q}, sum by (le) "
                            "(rate(lakehouse_speed_batch_seconds_bucket[5m])))",
                            f"p{round(q * 100)}",
                        )
                        for q in (0.5, 0.95, 0.99)
                    ),
                    unit="s",
                ),
                Panel(
                    "Speed layer: stages",
                    "Share of the time by Spark's stages of a micro-batch.",
                    (Query("rate(lakehouse_speed_stage_seconds_total[5m])", "{{stage}}"),),
                    unit="percentunit",
                ),
                Panel(
                    "Speed layer: lag",
                    "Events in the log beyond the last micro-batch.",
                    (Query("lakehouse_speed_lag_events", "{{topic}}"),),
                ),
                Panel(
                    "Speed layer: bytes",
                    "Payload bytes processed a second.",
                    (Query("sum by (topic) (rate(lakehouse_speed_bytes_total[1m]))"),),
                    unit="Bps",
                ),
                Panel(
                    "Speed layer: memory",
                    "Resident memory of its driver's Python; the JVM's is beside it, unmeasured.",
                    (Query('process_resident_memory_bytes{job="speed"}', "{{instance}}"),),
                    unit="bytes",
                ),
            ),
        ),
        Row(
            "API and live tier",
            (
                Panel(
                    "Requests",
                    "Requests answered a second, by route; Prometheus's own and looks at the "
                    "API's health are among them.",
                    (Query(f"sum by (route) (rate({_REQUESTS}[5m]))", "{{route}}"),),
                    unit="reqps",
                ),
                Panel(
                    "Errors",
                    "Answers a second that tell of an error: 4xx is the caller's, 5xx is ours.",
                    (
                        Query(
                            or_zero(
                                f'sum by (status) (rate({_REQUESTS}{{status=~"[45].."}}[5m]))',
                                f"sum({_REQUESTS})",
                            ),
                            "{{status}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    "Time to an answer",
                    "From a request to the start of its answer, 95 of 100; of a stream to its "
                    "first byte.",
                    (
                        Query(
                            "histogram_quantile(0.95, sum by (le, route) "
                            "(rate(lakehouse_api_request_seconds_bucket[5m])))",
                            "{{route}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Gate to the SQL engine",
                    "Pages that it is at work on at once, on average, which the setting "
                    "API_QUERIES_AT_ONCE limits; and requests a second that were refused, by "
                    "what.",
                    (
                        Query("rate(lakehouse_api_engine_seconds_sum[5m])", "at work"),
                        Query(
                            or_zero(
                                "sum by (cause) (rate(lakehouse_api_refused_total[5m]))",
                                "sum(lakehouse_api_engine_seconds_count)",
                            ),
                            "refused: {{cause}}",
                        ),
                    ),
                ),
                Panel(
                    "Live tier: delay",
                    "From an event's place in the log to its rows' sending, by topic.",
                    percentiles("lakehouse_live_delay_seconds", by="topic"),
                    unit="s",
                ),
                Panel(
                    "Live tier: backlog",
                    "Events in the log that it has not read; minutes and clients that wait for "
                    "what silver knows of them.",
                    (
                        Query("lakehouse_live_lag_events", "events {{topic}}"),
                        Query("lakehouse_live_waiting", "waiting {{relation}}"),
                    ),
                ),
            ),
        ),
        Row(
            "Models",
            (
                Panel(
                    "Models: drift",
                    "Of the feature that is furthest from its training: ks, the distance of the "
                    "distributions, from 0 to 1, and missing, the share of rows that lack it. A "
                    "line without a name: nothing was measured yet.",
                    (_checked('measure=~"ks|missing"', by="model, measure"),),
                    unit="percentunit",
                ),
                Panel(
                    "Models: quality",
                    "The champion beside the naive candidate on the newest day that was measured, "
                    "each measure in its own unit. A line without a name: nothing was measured "
                    "yet.",
                    (_checked('measure!~"ks|missing"', by="model, measure, subject"),),
                ),
            ),
        ),
        Row(
            "Trino",
            (
                Panel(
                    "Queries",
                    "Queries that run and that wait.",
                    (
                        Query(f"{_MANAGER}_RunningQueries", "running"),
                        Query(f"{_MANAGER}_QueuedQueries", "queued"),
                    ),
                ),
                Panel(
                    "Traffic",
                    "Queries completed a second.",
                    (Query(f"rate({_MANAGER}_CompletedQueries[5m])", "completed"),),
                    unit="reqps",
                ),
                Panel(
                    "Time of a query",
                    "Of all queries since Trino started, by its own reckoning.",
                    (
                        Query(
                            f'{_MANAGER}_ExecutionTime_AllTime{{quantile=~"0.5|0.95|0.99"}} / 1000',
                            "p{{quantile}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Failures",
                    "Queries a second that failed, by whose fault.",
                    (
                        Query(f"rate({_MANAGER}_UserErrorFailures[5m])", "the user's"),
                        Query(f"rate({_MANAGER}_InternalFailures[5m])", "Trino's"),
                        Query(f"rate({_MANAGER}_ExternalFailures[5m])", "a source's"),
                        Query(
                            f"rate({_MANAGER}_InsufficientResourcesFailures[5m])",
                            "too little memory",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    "Rows read",
                    "Rows that queries consumed, a second.",
                    (Query(f"rate({_MANAGER}_ConsumedInputRows[5m])", "rows"),),
                    unit="rowsps",
                ),
                Panel(
                    "Nodes",
                    "Nodes that take part.",
                    (Query("trino_metadata_name_DiscoveryNodeManager_ActiveNodeCount", "active"),),
                ),
            ),
        ),
        Row(
            "Schema registry",
            (
                Panel(
                    "Requests",
                    "Requests a second, by path and answer.",
                    (Query(f"sum by (path, status_code_group) (rate({_REGISTRY}[5m]))"),),
                    unit="reqps",
                ),
                Panel(
                    "Connections to its database",
                    "Connections that the registry has in use.",
                    (Query("agroal_active_count", "{{datasource}}"),),
                ),
            ),
        ),
        Row(
            "Exporter",
            (
                Panel(
                    "Sources",
                    "1 for each source that was read lately; what the others tell is withheld.",
                    (Query("lakehouse_exporter_up", "{{source}}"),),
                    limit=1,
                    low_is_bad=True,
                    runbook="LakehouseExporterBlind",
                ),
                Panel(
                    "Time of a read",
                    "How long the last read of a source took.",
                    (Query("lakehouse_exporter_read_seconds", "{{source}}"),),
                    unit="s",
                ),
                Panel(
                    "Versions",
                    "What runs, by process.",
                    (
                        Query(
                            "count by (job, version) ("
                            'lakehouse_build_info{job=~"lander|speed|metrics"})',
                            "{{job}} {{version}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

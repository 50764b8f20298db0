"""The first page: is the platform well, by the four golden signals of each pipeline."""

from infra.grafana.boards import Board, Panel, Query, Row, or_zero, percentiles
from schemas import contract

FRESH_SECONDS = contract("gold.bars_1m_rt").freshness_seconds
_LANDED = "sum(rate(lakehouse_lander_events_total[5m]))"

BOARD = Board(
    "lakehouse-overview",
    "Lakehouse: overview",
    "Latency, traffic, errors and saturation of every pipeline, from the log to the merged views.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Merged views are behind by",
                    "Age of the oldest event that a merged view does not show, of whichever is "
                    "furthest behind; red beyond the contract.",
                    (Query("max(view:lakehouse_freshness_seconds:max)"),),
                    unit="s",
                    kind="stat",
                    limit=FRESH_SECONDS,
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Layers agree",
                    "1 when the last reconciliation of every table found batch and speed equal.",
                    (Query("min(lakehouse_reconciliation_agrees)"),),
                    kind="stat",
                    limit=1,
                    low_is_bad=True,
                    runbook="LakehouseLayersDrift",
                ),
                Panel(
                    "Events a second",
                    "Events landed in bronze, over a minute.",
                    (Query("sum(rate(lakehouse_lander_events_total[1m]))"),),
                    unit="eps",
                    kind="stat",
                    runbook="LakehouseNoData",
                ),
                Panel(
                    "Not landed yet",
                    "Events in the log that bronze does not hold.",
                    (Query("sum(lakehouse_table_lag_events)"),),
                    kind="stat",
                    runbook="LakehouseLanderLag",
                ),
                Panel(
                    "Targets down",
                    "What Prometheus is told to watch and cannot reach.",
                    (Query("count(up) - sum(up)"),),
                    kind="stat",
                    limit=1,
                    runbook="LakehouseTargetDown",
                ),
                Panel(
                    "Alerts firing",
                    "All alerts; docs/runbook has a page on each.",
                    (Query(or_zero('count(ALERTS{alertstate="firing"})', "count(up)")),),
                    kind="stat",
                    limit=1,
                ),
            ),
        ),
        Row(
            "Ingest: the log to bronze",
            (
                Panel(
                    "Latency: log to bronze",
                    "From an event's timestamp in the log to its commit in bronze.",
                    percentiles("lakehouse_lander_event_delay_seconds", by="topic"),
                    unit="s",
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Traffic",
                    "Events landed a second.",
                    (Query("sum by (topic) (rate(lakehouse_lander_events_total[1m]))"),),
                    unit="eps",
                ),
                Panel(
                    "Errors",
                    "Messages refused, and attempts that failed and came again, a second.",
                    (
                        Query(
                            or_zero("sum(rate(lakehouse_lander_dead_letters_total[5m]))", _LANDED),
                            "dead letters",
                        ),
                        Query("sum(rate(lakehouse_lander_retries_total[5m]))", "retries"),
                    ),
                    unit="eps",
                    runbook="LakehouseDeadLetterRate",
                ),
                Panel(
                    "Saturation",
                    "Share of the time that the lander is committing; at 1 it is the bottleneck.",
                    (
                        Query(
                            "sum by (table) (rate(lakehouse_lander_commit_seconds_sum[1m]))",
                            "committing to {{table}}",
                        ),
                        Query('rate(process_cpu_seconds_total{job="lander"}[1m])', "cores"),
                    ),
                    unit="percentunit",
                    runbook="LakehouseLanderLag",
                ),
            ),
        ),
        Row(
            "Speed: the log to the provisional rows",
            (
                Panel(
                    "Latency: log to merged view",
                    "From the timestamp of a micro-batch's oldest event to the micro-batch's end: "
                    "no event waited longer.",
                    percentiles("lakehouse_speed_oldest_event_delay_seconds", by="topic"),
                    unit="s",
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Traffic",
                    "Events processed a second.",
                    (Query("sum by (topic) (rate(lakehouse_speed_events_total[1m]))"),),
                    unit="eps",
                ),
                Panel(
                    "Errors",
                    "Starts of the speed layer within the hour; each after the first was a failure "
                    "or somebody's wish.",
                    (Query('1 + changes(process_start_time_seconds{job="speed"}[1h])', "starts"),),
                ),
                Panel(
                    "Saturation",
                    "Share of the time that a micro-batch is running; at 1 the next one waits.",
                    (Query("sum(rate(lakehouse_speed_batch_seconds_sum[1m]))", "busy"),),
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Batch: bronze to silver and gold",
            (
                Panel(
                    "Latency: the last run",
                    "How long the last published run took.",
                    (Query("lakehouse_run_last_duration_seconds", "{{kind}} {{dataset}}"),),
                    unit="s",
                ),
                Panel(
                    "Traffic: the last run",
                    "Rows that the last published run wrote.",
                    (Query("lakehouse_run_last_rows", "{{kind}} {{dataset}}"),),
                ),
                Panel(
                    "Errors",
                    "1 when the run that ended last has failed.",
                    (Query("lakehouse_run_failed", "{{kind}} {{dataset}}"),),
                    limit=1,
                    runbook="LakehouseBatchFailed",
                ),
                Panel(
                    "Saturation: behind by",
                    "Since the end of the latest interval that was published. An hourly schedule "
                    "swings between nothing and an hour, and a run's length.",
                    (
                        Query(
                            "time() - lakehouse_run_covered_through_timestamp_seconds",
                            "{{kind}} {{dataset}}",
                        ),
                    ),
                    unit="s",
                    limit=contract("gold.bars_1m").freshness_seconds,
                    runbook="LakehouseReconciliationLate",
                ),
            ),
        ),
        Row(
            "Serving: the merged views",
            (
                Panel(
                    "Latency: freshness of the views",
                    "Age of the oldest event that a view does not show.",
                    (Query("view:lakehouse_freshness_seconds:max", "{{view}}"),),
                    unit="s",
                    limit=FRESH_SECONDS,
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Traffic: Trino",
                    "Queries completed a second.",
                    (Query("rate(trino_execution_name_QueryManager_CompletedQueries[5m])", "all"),),
                    unit="reqps",
                ),
                Panel(
                    "Errors: Trino",
                    "Queries that failed a second.",
                    (Query("rate(trino_execution_name_QueryManager_FailedQueries[5m])", "failed"),),
                    unit="reqps",
                ),
                Panel(
                    "Saturation: Trino",
                    "Queries that wait for others.",
                    (Query("trino_execution_name_QueryManager_QueuedQueries", "queued"),),
                ),
            ),
        ),
    ),
)

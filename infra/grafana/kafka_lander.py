"""The log, and the process that lands it."""

from infra.grafana.boards import Board, Panel, Query, Row, or_zero, percentiles

_LANDED = "sum(rate(lakehouse_lander_events_total[5m]))"

BOARD = Board(
    "lakehouse-kafka-lander",
    "Lakehouse: Kafka and lander",
    "What comes in, how the broker answers, and how the lander keeps up.",
    (
        Row(
            "Live feed",
            (
                Panel(
                    "Events sent",
                    "Events a second that the feed has sent to the log, by instrument.",
                    (Query("rate(lakehouse_feed_events_total[5m])", "{{instrument}}"),),
                    unit="eps",
                    runbook="LakehouseNoData",
                ),
                Panel(
                    "Trades left out",
                    "By the exchange's own numbering, within the last hour; a recording can fill "
                    "them in.",
                    (Query("increase(lakehouse_feed_missing_trades_total[1h])", "missing"),),
                ),
                Panel(
                    "Connections",
                    "Connections that were made within the last hour.",
                    (Query("increase(lakehouse_feed_connections_total[1h])", "made"),),
                ),
            ),
        ),
        Row(
            "Kafka",
            (
                Panel(
                    "Messages in",
                    "Messages appended a second, by topic.",
                    (Query("sum by (topic) (rate(kafka_topic_messages_in_total[5m]))"),),
                    unit="eps",
                    runbook="LakehouseNoData",
                ),
                Panel(
                    "Bytes in",
                    "Bytes received from producers a second, by topic.",
                    (Query("sum by (topic) (rate(kafka_topic_received_bytes_total[5m]))"),),
                    unit="Bps",
                ),
                Panel(
                    "Bytes out",
                    "Bytes sent to consumers a second: the lander and the speed layer read all.",
                    (Query("sum by (topic) (rate(kafka_topic_sent_bytes_total[5m]))"),),
                    unit="Bps",
                ),
                Panel(
                    "Request time",
                    "99th percentile of a request's time on the broker. A fetch waits for events, "
                    "half a second at most.",
                    (Query('kafka_request_time_seconds{quantile="0.99"}', "{{request}}"),),
                    unit="s",
                ),
                Panel(
                    "Failed requests",
                    "Requests that the broker answered with an error, a second.",
                    (
                        Query(
                            "sum by (request) (rate(kafka_broker_failed_requests_total[5m]))",
                            "{{request}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    "Partitions in need",
                    "Partitions with too few copies, or without a leader; both are 0 when well.",
                    (
                        Query("sum(kafka_broker_under_replicated_partitions)", "under-replicated"),
                        Query("sum(kafka_controller_offline_partitions)", "offline"),
                    ),
                    limit=1,
                ),
                Panel(
                    "Handlers idle",
                    "Share of the request handlers' time without work; near 0 the broker is full.",
                    (Query("kafka_broker_request_handler_idle_ratio", "{{instance}}"),),
                    unit="percentunit",
                    limit=0.3,
                    low_is_bad=True,
                ),
                Panel(
                    "Size of the log",
                    "Bytes on disk by topic.",
                    (Query("sum by (topic) (kafka_log_bytes)"),),
                    unit="bytes",
                ),
                Panel(
                    "End of the log",
                    "Offset that the next event gets, by partition: keys are spread unevenly.",
                    (Query("lakehouse_log_end_offset", "{{topic}} {{partition}}"),),
                ),
            ),
        ),
        Row(
            "Lander",
            (
                Panel(
                    "Events landed",
                    "Events a second, by topic.",
                    (Query("sum by (topic) (rate(lakehouse_lander_events_total[1m]))"),),
                    unit="eps",
                    runbook="LakehouseNoData",
                ),
                Panel(
                    "Bytes landed",
                    "Payload bytes a second, by topic.",
                    (Query("sum by (topic) (rate(lakehouse_lander_bytes_total[1m]))"),),
                    unit="Bps",
                ),
                Panel(
                    "Lag",
                    "Events in the log and not in bronze: as the lander sees it, and as the "
                    "exporter does, who also looks while no lander runs.",
                    (
                        Query("lakehouse_lander_lag_events", "lander {{topic}}"),
                        Query("lakehouse_table_lag_events", "exporter {{topic}}"),
                    ),
                    runbook="LakehouseLanderLag",
                ),
                Panel(
                    "Commit time",
                    "Time of one commit to a table, the file and the retries included.",
                    percentiles("lakehouse_lander_commit_seconds", by="table"),
                    unit="s",
                    runbook="LakehouseCommitRetries",
                ),
                Panel(
                    "Commits",
                    "Commits a second, by table.",
                    (Query("sum by (table) (rate(lakehouse_lander_commit_seconds_count[5m]))"),),
                    unit="ops",
                ),
                Panel(
                    "Retries",
                    "Attempts that failed and came again, a second.",
                    (
                        Query(
                            "sum by (operation) (rate(lakehouse_lander_retries_total[5m]))",
                            "{{operation}}",
                        ),
                    ),
                    unit="ops",
                    runbook="LakehouseCommitRetries",
                ),
                Panel(
                    "Dead letters",
                    "Messages refused a second, by reason.",
                    (
                        Query(
                            or_zero(
                                "sum by (reason) (rate(lakehouse_lander_dead_letters_total[5m]))",
                                _LANDED,
                            ),
                            "{{reason}}",
                        ),
                    ),
                    unit="eps",
                    runbook="LakehouseDeadLetterRate",
                ),
                Panel(
                    "Dead letters kept",
                    "Rows of bronze.dead_letters by who refused them and why.",
                    (
                        Query(
                            or_zero(
                                "sum by (stage, reason) (lakehouse_dead_letters_rows)",
                                "sum(lakehouse_table_snapshots)",
                            ),
                            "{{stage}} {{reason}}",
                        ),
                    ),
                    runbook="LakehouseDeadLetterRate",
                ),
                Panel(
                    "Memory",
                    "Resident memory of the lander.",
                    (Query('process_resident_memory_bytes{job="lander"}', "{{instance}}"),),
                    unit="bytes",
                ),
            ),
        ),
    ),
)

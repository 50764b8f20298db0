"""What batch ran, and how the tables and the stores under them are doing."""

from infra.grafana.boards import Board, Panel, Query, Row, or_zero

_AGE = "time() - lakehouse_table_newest_commit_timestamp_seconds"


def _expired(process: str) -> str:
    return f"60 * sum by (table) (rate(lakehouse_{process}_expired_snapshots_total[10m]))"


BOARD = Board(
    "lakehouse-batch-tables",
    "Lakehouse: batch and tables",
    "Runs, files, snapshots, and the stores that hold them.",
    (
        Row(
            "Batch",
            (
                Panel(
                    "Duration of runs",
                    "The last published run, and the 95th percentile of the last month's.",
                    (
                        Query("lakehouse_run_last_duration_seconds", "last {{kind}} {{dataset}}"),
                        Query(
                            "histogram_quantile(0.95, sum by (le, kind, dataset) "
                            "(lakehouse_run_seconds_bucket))",
                            "p95 {{kind}} {{dataset}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Since the last success",
                    "Since a run last published.",
                    (
                        Query(
                            "time() - lakehouse_run_last_success_timestamp_seconds",
                            "{{kind}} {{dataset}}",
                        ),
                    ),
                    unit="s",
                    runbook="LakehouseBatchFailed",
                ),
                Panel(
                    "Runs of the last month",
                    "Runs by kind and by how they ended.",
                    (
                        Query(
                            "sum by (kind, status) (lakehouse_run_seconds_count)",
                            "{{kind}} {{status}}",
                        ),
                    ),
                    runbook="LakehouseBatchFailed",
                ),
                Panel(
                    "Publications lost to another run",
                    "How often the last published run began again, since another had published.",
                    (Query("lakehouse_run_last_conflicts", "{{kind}} {{dataset}}"),),
                ),
                Panel(
                    "Spark workers",
                    "Workers that the master knows, and applications that wait for cores.",
                    (
                        Query("metrics_master_aliveWorkers_Value", "workers"),
                        Query("metrics_master_waitingApps_Value", "applications waiting"),
                    ),
                ),
                Panel(
                    "Spark cores",
                    "Cores in use of each worker.",
                    (
                        Query("metrics_worker_coresUsed_Value", "used {{instance}}"),
                        Query("metrics_worker_coresFree_Value", "free {{instance}}"),
                    ),
                ),
                Panel(
                    "Spark memory",
                    "Heap in use of master and workers.",
                    (Query("metrics_jvm_heap_used_Value", "{{instance}}"),),
                    unit="bytes",
                ),
            ),
        ),
        Row(
            "Tables",
            (
                Panel(
                    "Files",
                    "Data files of the newest snapshot: each costs a query some milliseconds.",
                    (Query("lakehouse_table_files", "{{table}}"),),
                ),
                Panel(
                    "Average file",
                    "Bytes by file. Streams write small ones, compaction makes them large.",
                    (
                        Query(
                            "lakehouse_table_bytes / (lakehouse_table_files > 0)",
                            "{{table}}",
                        ),
                    ),
                    unit="bytes",
                ),
                Panel(
                    "Delete files",
                    "Files that hide rows of others until compaction.",
                    (Query("lakehouse_table_delete_files", "{{table}}"),),
                ),
                Panel(
                    "Bytes",
                    "Bytes of the newest snapshot.",
                    (Query("lakehouse_table_bytes", "{{table}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Rows",
                    "Rows of the newest snapshot, those that delete files hide included.",
                    (Query("lakehouse_table_records", "{{table}}"),),
                ),
                Panel(
                    "Snapshots",
                    "Length of a table's history: every commit rewrites it. Streams keep minutes.",
                    (Query("lakehouse_table_snapshots", "{{table}}"),),
                ),
                Panel(
                    "Since the newest commit",
                    "Age of the newest snapshot.",
                    (Query(_AGE, "{{table}}"),),
                    unit="s",
                ),
                Panel(
                    "Speed layer's commits",
                    "95th percentile of an append's time, by table.",
                    (
                        Query(
                            "histogram_quantile(0.95, sum by (le, table) "
                            "(rate(lakehouse_speed_commit_seconds_bucket[5m])))",
                            "{{table}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Snapshots expired",
                    "Snapshots that the lander and the speed layer expired, a minute.",
                    (
                        Query(_expired("lander"), "{{table}}"),
                        Query(_expired("speed"), "{{table}}"),
                    ),
                ),
            ),
        ),
        Row(
            "MinIO",
            (
                Panel(
                    "Size of buckets",
                    "Bytes by bucket, as the last scan found them.",
                    (Query("minio_bucket_usage_total_bytes", "{{bucket}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Room left",
                    "Share of the usable capacity that is free.",
                    (
                        Query(
                            "sum(minio_cluster_capacity_usable_free_bytes) / "
                            "sum(minio_cluster_capacity_usable_total_bytes)",
                            "free",
                        ),
                    ),
                    unit="percentunit",
                    limit=0.1,
                    low_is_bad=True,
                ),
                Panel(
                    "Requests",
                    "Requests a second by operation.",
                    (Query("sum by (api) (rate(minio_s3_requests_total[5m]))", "{{api}}"),),
                    unit="reqps",
                ),
                Panel(
                    "Time to first byte",
                    "95th percentile by operation.",
                    (
                        Query(
                            "histogram_quantile(0.95, sum by (le, api) "
                            "(rate(minio_s3_requests_ttfb_seconds_distribution[5m])))",
                            "{{api}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Errors",
                    "Requests that were answered with an error, a second; a look for what is not "
                    "there counts as one.",
                    (
                        Query(
                            or_zero(
                                "sum(rate(minio_s3_requests_errors_total[5m]))",
                                "sum(minio_s3_requests_incoming_total)",
                            ),
                            "errors",
                        ),
                    ),
                    unit="reqps",
                ),
            ),
        ),
        Row(
            "PostgreSQL: the catalog",
            (
                Panel(
                    "Transactions",
                    "Committed and rolled back, a second, by database.",
                    (
                        Query(
                            'rate(pg_stat_database_xact_commit{datname!~"template.*"}[5m])',
                            "committed {{datname}}",
                        ),
                        Query(
                            'rate(pg_stat_database_xact_rollback{datname!~"template.*"}[5m])',
                            "rolled back {{datname}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Connections",
                    "Open connections by database.",
                    (Query("sum by (datname) (pg_stat_database_numbackends)", "{{datname}}"),),
                ),
                Panel(
                    "Size",
                    "Bytes on disk, by database.",
                    (Query("pg_database_size_bytes", "{{datname}}"),),
                    unit="bytes",
                ),
            ),
        ),
    ),
)

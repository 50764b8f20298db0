"""How fresh what readers see is, and whether the layers agree."""

from infra.grafana.boards import Board, Panel, Query, Row, percentiles
from schemas import contract

_BATCH_SECONDS = contract("gold.bars_1m").freshness_seconds
_AGE = "table:lakehouse_freshness_seconds:max"
_TARGET = "max by (table) (lakehouse_contract_freshness_seconds)"


def _target_of(those: str) -> Query:
    """Ask what the contracts of the tables state of which a metric tells something."""
    return Query(f"{_TARGET} and on (table) {those}", "contract {{table}}")


def _rows_found(state: str, title: str, description: str, runbook: str | None = None) -> Panel:
    return Panel(
        title,
        description,
        (Query(f'lakehouse_reconciliation_rows{{state="{state}"}}', "{{table}}"),),
        runbook=runbook,
    )


BOARD = Board(
    "lakehouse-freshness",
    "Lakehouse: freshness and reconciliation",
    "Ages against the contracts' targets, and what the hourly reconciliation found.",
    (
        Row(
            "Freshness",
            (
                Panel(
                    "Merged views",
                    "Age of the oldest event that a view does not show, and the target.",
                    (
                        Query("view:lakehouse_freshness_seconds:max", "{{view}}"),
                        Query("view:lakehouse_contract_freshness_seconds:min", "contract {{view}}"),
                    ),
                    unit="s",
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Tables of seconds",
                    "Bronze and the speed layer: age of the oldest event that a table does not "
                    "show.",
                    (
                        Query('table:lakehouse_freshness_seconds:max{table=~"bronze.*|.*_rt"}'),
                        Query(
                            'lakehouse_contract_freshness_seconds{table=~"bronze.*|.*_rt"}',
                            "contract {{table}}",
                        ),
                    ),
                    unit="s",
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Tables of batch",
                    "While more has landed of what a table is made of: since the end of what was "
                    "published without leaving an hour out.",
                    (
                        Query(
                            'table:lakehouse_freshness_seconds:max{table!~"bronze.*|.*_rt"}',
                            "{{table}}",
                        ),
                        _target_of('lakehouse_table_freshness_seconds{table!~"bronze.*"}'),
                    ),
                    unit="s",
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Within the contract",
                    "Share of the last hour in which a table was as fresh as its contract states; "
                    "the contracts say 95 of 100.",
                    (
                        Query(
                            f"avg_over_time(({_AGE} <= bool on (table) {_TARGET})[1h:15s])",
                            "{{table}}",
                        ),
                    ),
                    unit="percentunit",
                    limit=0.95,
                    low_is_bad=True,
                    runbook="LakehouseFreshnessBeyondContract",
                ),
                Panel(
                    "Log to bronze",
                    "Every event's time from the log to its commit in bronze.",
                    percentiles("lakehouse_lander_event_delay_seconds", by="topic"),
                    unit="s",
                ),
                Panel(
                    "Log to merged view: newest events",
                    "From the newest event of a micro-batch to the micro-batch's end. The oldest "
                    "event's time is on the overview.",
                    percentiles("lakehouse_speed_newest_event_delay_seconds", by="topic"),
                    unit="s",
                ),
            ),
        ),
        Row(
            "Reconciliation",
            (
                _rows_found(
                    "drifted",
                    "Rows that differ",
                    "Rows that both layers made from the same events and that differ: a defect.",
                    "LakehouseLayersDrift",
                ),
                _rows_found(
                    "missing_in_batch",
                    "Rows missing in batch",
                    "Rows whose events batch has seen and that it does not have: a defect.",
                    "LakehouseLayersDrift",
                ),
                _rows_found(
                    "compared", "Rows compared", "Rows at the same position in both layers."
                ),
                Panel(
                    "Since the layers were last found equal",
                    "By table, and the time that its contract gives to batch.",
                    (
                        Query("lakehouse_reconciliation_age_seconds", "{{table}}"),
                        _target_of("lakehouse_reconciliation_age_seconds"),
                    ),
                    unit="s",
                    limit=_BATCH_SECONDS,
                    runbook="LakehouseReconciliationLate",
                ),
                Panel(
                    "Oldest unreconciled",
                    "Age, at the interval's end, of the oldest business time that only speed "
                    "covered.",
                    (
                        Query(
                            "lakehouse_reconciliation_oldest_unreconciled_age_seconds", "{{table}}"
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Where the layers stand",
                    "Rows that one layer has more of, and what was pruned.",
                    (
                        Query(
                            "lakehouse_reconciliation_rows"
                            '{state=~"batch_ahead|speed_ahead|only_in_batch|only_in_speed|pruned"}',
                            "{{table}} {{state}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

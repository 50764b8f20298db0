"""What a run has written is read back, audited and judged before anybody else sees it."""

from collections.abc import Mapping
from typing import Any

import structlog
from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame

from batch.audit import Audit
from batch.quality import QUALITY_CHECKS, Finding, QualityError, check
from batch.runs import Run
from lakehouse.audit_trail import append_rows
from lakehouse.tracing import table_span

_log = structlog.get_logger(__name__)


def ask(run: Run, rows: DataFrame, audit: Audit) -> tuple[list[Finding], Mapping[str, Any]]:
    """Ask the contract's rules, and what is audited, of what a run has written."""
    return check(audit.contract, rows, run.interval, beside=audit.asked)


def inspect(catalog: Catalog, run: Run, rows: DataFrame, audit: Audit) -> None:
    """Audit what a run has written, and ask the contract's rules of it; keep what they find.

    Raises:
        AuditError: It is not sound.
        QualityError: A rule forbids to publish it.
    """
    # Whoever watches the run knows by this line how far it is.
    _log.info("written", table=audit.contract.name, rows=audit.rows)
    with table_span("audit", audit.contract.name):
        findings, answers = ask(run, rows, audit)
        if findings:
            found = [finding.row(run.run_id, run.interval) for finding in findings]
            append_rows(catalog, QUALITY_CHECKS, found)
        audit.judge(answers)
        if any(finding.forbids for finding in findings):
            raise QualityError(findings)

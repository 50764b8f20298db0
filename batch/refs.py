"""Branches and tags of tables that nobody needs any more."""

from collections.abc import Iterable

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table.refs import SnapshotRefType

from lakehouse.audit_trail import COMMIT_BUDGET_SECONDS
from lakehouse.resilience import retrying


def drop_refs(catalog: Catalog, name: str, refs: Iterable[str]) -> None:
    """Drop branches and tags of a table; what somebody else has dropped meanwhile is fine."""

    @retrying(on=CommitFailedException, budget_seconds=COMMIT_BUDGET_SECONDS)
    def drop() -> None:
        table = catalog.load_table(name)
        with table.manage_snapshots() as changes:
            for ref in refs:
                if ref not in table.metadata.refs:
                    continue
                if table.metadata.refs[ref].snapshot_ref_type == SnapshotRefType.TAG:
                    changes.remove_tag(ref)
                else:
                    changes.remove_branch(ref)

    drop()

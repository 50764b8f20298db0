"""What the runbook tells an operator to ask of the lake, and as whom of Trino's users."""

import re

import pytest

from lakehouse.infra import INFRA

PAGES = sorted((INFRA.parent / "docs" / "runbook").glob("*.md"))
LINE = re.compile(r'LAKEHOUSE_TRINO_USERNAME=(?P<user>\w+)|lakehouse sql "(?P<query>[^"]+)"')


def _asked(text: str) -> list[tuple[str, str]]:
    """Return the queries of a page, each with the user that its shell is by then."""
    user, found = "serving", []
    for line in LINE.finditer(text):
        if line["query"]:
            found.append((line["query"], user))
        else:
            user = line["user"]
    return found


RUNBOOK_QUERIES = [
    pytest.param(query, user, id=f"{page.stem}: {query[:30]}")
    for page in PAGES
    for query, user in _asked(page.read_text(encoding="utf-8"))
]

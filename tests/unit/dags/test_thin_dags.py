"""The DAGs as text: what they import, and what they say twice because they cannot import it."""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from batch.dataset import Dataset
from batch.datasets import DATASETS
from batch.references import REFERENCES, Reference
from lakehouse.infra import dags_folder

FILES = sorted(dags_folder().rglob("*.py"))
PLUGINS = {path.stem for path in (dags_folder() / "plugins").glob("*.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dags_import_airflow_and_one_another_and_nothing_of_ours(path: Path) -> None:
    found = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert found <= {*sys.stdlib_module_names, "airflow", *PLUGINS}


@pytest.mark.parametrize(("name", "known"), [("DATASETS", DATASETS), ("REFERENCES", REFERENCES)])
def test_the_dags_know_the_datasets_that_batch_has(
    name: str, known: Sequence[Dataset | Reference]
) -> None:
    tree = ast.parse((dags_folder() / "plugins" / "lakehouse_defaults.py").read_text())
    (said,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    assert said == tuple(dataset.name for dataset in known)

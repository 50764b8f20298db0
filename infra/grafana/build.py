"""Writes the dashboards: ``make dashboards``. A test holds the written ones against the code."""

from pathlib import Path

from infra.grafana import batch_tables, freshness, kafka_lander, overview, serving
from infra.grafana.boards import Board

BOARDS: tuple[Board, ...] = tuple(
    module.BOARD for module in (overview, freshness, kafka_lander, batch_tables, serving)
)
FOLDER = Path(__file__).parent / "dashboards"


def file_of(board: Board) -> Path:
    """Return the file that a dashboard is written to."""
    return FOLDER / f"{board.uid.removeprefix('lakehouse-')}.json"


def write() -> list[Path]:
    """Write every dashboard and return the files."""
    for board in BOARDS:
        file_of(board).write_text(board.to_json(), encoding="utf-8")
    return [file_of(board) for board in BOARDS]


if __name__ == "__main__":
    for path in write():
        print(path)

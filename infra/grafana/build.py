"""Writes the dashboards and the table of metrics: ``make dashboards``. A test holds them to it."""

from pathlib import Path

from infra.grafana import batch_tables, freshness, kafka_lander, overview, reference, serving
from infra.grafana.boards import Board

BOARDS: tuple[Board, ...] = tuple(
    module.BOARD for module in (overview, freshness, kafka_lander, batch_tables, serving)
)
FOLDER = Path(__file__).parent / "dashboards"


def file_of(board: Board) -> Path:
    """Return the file that a dashboard is written to."""
    return FOLDER / f"{board.uid.removeprefix('lakehouse-')}.json"


def write() -> list[Path]:
    """Write every dashboard and the table of metrics, and return the files."""
    for board in BOARDS:
        file_of(board).write_text(board.to_json(), encoding="utf-8")
    page = reference.PAGE
    page.write_text(reference.with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    return [*(file_of(board) for board in BOARDS), page]


if __name__ == "__main__":
    for path in write():
        print(path)

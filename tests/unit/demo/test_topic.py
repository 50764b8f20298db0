"""Reading the log back: what it says it holds has to come."""

from types import SimpleNamespace
from typing import Any

import pytest

from demo import topic


class SilentConsumer:
    """Knows of two messages in one partition, and hands out none of them."""

    def __init__(self, _settings: dict[str, Any]) -> None:
        self.closed = False

    def list_topics(self, name: str, timeout: float) -> Any:
        return SimpleNamespace(topics={name: SimpleNamespace(partitions={0: None})})

    def get_watermark_offsets(self, _partition: Any, timeout: float) -> tuple[int, int]:
        return 5, 7

    def assign(self, partitions: list[Any]) -> None:
        assert [partition.offset for partition in partitions] == [5]

    def poll(self, timeout: float) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def test_a_log_that_goes_silent_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = SilentConsumer({})
    monkeypatch.setattr(topic, "Consumer", lambda _settings: silent)
    with pytest.raises(topic.LogStalledError, match=r"market\.trades at there .*\{0: 7\}"):
        list(topic.read_topic({"bootstrap.servers": "there"}, "market.trades"))
    assert silent.closed

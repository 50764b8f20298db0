"""Where the log ends: what is asked again, and by whom, when a client is refused."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from serving.live import ends
from serving.live.ends import Ends, LogEnds

pytestmark = pytest.mark.serving

PLACE = TopicPartition("market.trades", 0)


class End:
    offset = 7


def test_a_client_that_is_refused_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a broker's restart: the former leader's epoch is asked for, over and over."""
    made = []

    class Client:
        def __init__(self, _settings: Any) -> None:
            made.append(self)

        def list_offsets(self, asked: Any, **_: Any) -> dict[TopicPartition, Future[Any]]:
            answer = Future[Any]()
            if self is made[0]:
                answer.set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
            else:
                answer.set_result(End())
            return dict.fromkeys(asked, answer)

    monkeypatch.setattr(ends, "AdminClient", Client)
    monkeypatch.setattr(ends, "ASK_SECONDS", 0.0)
    asked = LogEnds({}, [PLACE])
    told = [asked.news() for _ in range(4)]  # asked, refused, asked, told
    assert told[:3] == [None, None, None]
    assert isinstance(told[3], Ends)
    assert told[3].offsets == {"market.trades": {0: 7}}
    assert len(made) == 2

"""A log that is not what it was: made again, or with events gone. The lander asks, and obeys."""

from threading import Event

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from landing import TRADES_TABLE, Sent, land, make_topics_again, once_each, places

from ingestion.lander.lander import Lander
from ingestion.lander.log import EventsLostError, TopicChangedError
from ingestion.lander.writer import DEAD_LETTERS_TABLE
from lakehouse.catalog import load_catalog
from lakehouse.kafka import TRADES_TOPIC
from lakehouse.settings import Settings

pytestmark = pytest.mark.integration


def test_a_topic_made_again_is_refused_then_declared(lake: Settings) -> None:
    old = Sent(lake)
    old.send(range(1, 200))
    land(lake)
    make_topics_again(lake)
    new = Sent(lake)
    new.send(range(1, 300))
    with pytest.raises(TopicChangedError, match="--new-generation"):
        land(lake)
    assert places(load_catalog(lake), TRADES_TABLE) == once_each(old.of(TRADES_TOPIC, good=True))

    land(lake, new_generation=True)
    expected = once_each(old.of(TRADES_TOPIC, good=True)) + once_each(
        new.of(TRADES_TOPIC, good=True), generation=1
    )
    assert places(load_catalog(lake), TRADES_TABLE) == expected
    dead = once_each(old.of(TRADES_TOPIC, good=False)) + once_each(
        new.of(TRADES_TOPIC, good=False), generation=1
    )
    assert places(load_catalog(lake), DEAD_LETTERS_TABLE, TRADES_TOPIC) == dead
    land(lake)
    assert places(load_catalog(lake), TRADES_TABLE) == expected


def test_a_topic_made_again_under_a_running_lander_stops_it(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 100))
    lander = Lander(lake, load_catalog(lake))
    make_topics_again(lake)
    Sent(lake).send(range(1, 400))
    with pytest.raises(TopicChangedError, match="made again while it was being landed"):
        lander.run(once=True, stop=Event())
    assert not places(load_catalog(lake), TRADES_TABLE)


def test_events_that_kafka_deleted_are_not_passed_over_silently(lake: Settings) -> None:
    sent = Sent(lake)
    sent.send(range(1, 400))
    landed = sent.of(TRADES_TOPIC, good=True)
    cut = max(landed)
    admin = AdminClient({"bootstrap.servers": lake.bootstrap_servers})
    (request,) = admin.delete_records([TopicPartition(TRADES_TOPIC, *cut)]).values()
    request.result()
    with pytest.raises(EventsLostError, match=f"{cut[1]} of partition {cut[0]}"):
        land(lake)
    land(lake, accept_loss=True)
    left = {place for place in landed if place[0] != cut[0] or place[1] >= cut[1]}
    assert places(load_catalog(lake), TRADES_TABLE) == once_each(left)

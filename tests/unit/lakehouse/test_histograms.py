"""Histograms of arrays, beside the client library's own histogram of single values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from lakehouse.histograms import ArrayHistogram

BUCKETS = (0.5, 1, 2.5)
# Bounds themselves among them: a bound belongs to its bucket. Sums of these are exact.
VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.5, 3.0, 1000.0]))


@given(VALUES, VALUES)
def test_the_page_is_that_of_the_librarys_own(first: list[float], second: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    arrays = ArrayHistogram("delay", "A delay.", ["topic"], buckets=BUCKETS, registry=ours)
    singles = Histogram("delay", "A delay.", ["topic"], buckets=BUCKETS, registry=theirs)
    for topic, values in (("a", first), ("b", second), ("a", second)):
        arrays.observe(np.asarray(values, np.float64), topic)
        for value in values:
            singles.labels(topic).observe(value)
        singles.labels(topic)
    assert _samples(generate_latest(ours)) == _samples(generate_latest(theirs))


def test_labels_must_fit() -> None:
    histogram = ArrayHistogram("delay", "A delay.", ["topic"], registry=None)
    with pytest.raises(ValueError, match="topic"):
        histogram.observe(np.asarray([1.0]), "a", "b")


def _samples(page: bytes) -> set[str]:
    return {line for line in page.decode().splitlines() if "_created" not in line}

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.adapters import (
    VENUES,
    FrameRejectedError,
    UnknownVenueError,
    is_trade,
    venue_named,
    venue_of_file,
)

SAMPLE = Path(__file__).parents[3] / "demo" / "data"
SPOT_TRADE = {
    "e": "trade",
    "E": 1723161255343,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1723161255342,
    "m": True,
    "M": True,
}
MISSING = object()


def frame(**changes: Any) -> bytes:
    fields = {**SPOT_TRADE, **changes}
    fields = {name: value for name, value in fields.items() if value is not MISSING}
    return json.dumps({"stream": "btcusdt@trade", "data": fields}).encode()


def spot(payload: bytes | str) -> Any:
    return VENUES["binance_spot"].adapt(payload, 1723161254087896)


def reason_of(payload: bytes | str, venue: str = "binance_spot") -> str:
    with pytest.raises(FrameRejectedError) as caught:
        VENUES[venue].adapt(payload, None)
    assert caught.value.detail
    return caught.value.reason


def test_spot_trade_counts_coins() -> None:
    assert spot(frame()) == {
        "event_type": "TRADE",
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": 3735683259,
        "event_time": 1723161255342000,
        "price": Decimal("61837.63"),
        "quantity": Decimal("0.02"),
        "quantity_unit": "BASE",
        "contract_size": None,
        "aggressor_side": "SELL",
        "received_at": 1723161254087896,
    }


@pytest.mark.parametrize(
    ("symbol", "size"),
    [("BTCUSD_PERP", 100), ("BTCUSD_240927", 100), ("ETHUSD_PERP", 10), ("BTCDOMUSD_PERP", 10)],
)
def test_coin_margined_trade_counts_contracts(symbol: str, size: int) -> None:
    event = VENUES["binance_coinm"].adapt(frame(s=symbol, q="4", X="MARKET", M=MISSING), None)
    assert event is not None
    assert (event["quantity"], event["quantity_unit"]) == (Decimal(4), "CONTRACT")
    assert event["contract_size"] == Decimal(size)
    assert event["received_at"] is None


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT_240927"])
def test_usd_margined_trade_counts_coins(symbol: str) -> None:
    event = VENUES["binance_usdm"].adapt(frame(s=symbol, X="MARKET"), None)
    assert event is not None
    assert (event["quantity_unit"], event["contract_size"]) == ("BASE", None)


def test_buyer_that_was_not_the_maker_was_the_aggressor() -> None:
    assert spot(frame(m=False))["aggressor_side"] == "BUY"


def test_bare_frame_and_text_are_read_too() -> None:
    assert spot(json.dumps(SPOT_TRADE)) == spot(frame())


@pytest.mark.parametrize("price", ["-1.5", "0", "0.00000000"])
def test_well_typed_nonsense_is_left_to_the_transforms(price: str) -> None:
    assert spot(frame(p=price))["price"] == Decimal(price)


@pytest.mark.parametrize(
    "other",
    [
        {"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "s": "BTCUSDT"}},
        {"stream": "!ticker@arr", "data": [1, 2]},
        {"lastUpdateId": 1, "bids": [], "asks": []},
        {"result": None, "id": 1},
        {"error": {"code": 2, "msg": "unknown stream"}},
        {"e": "aggTrade"},
        {"e": "trade", "X": "INSURANCE_FUND", "s": "BTCUSDT", "p": "0", "q": "0"},
    ],
)
def test_frames_about_something_else_are_ignored(other: dict[str, Any]) -> None:
    assert spot(json.dumps(other)) is None


@pytest.mark.parametrize("name", ["s", "t", "p", "q", "T", "m", "e"])
def test_missing_field(name: str) -> None:
    assert reason_of(frame(**{name: MISSING})) == "missing_field"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("s", 7),
        ("s", None),
        ("t", "3735683259"),
        ("t", 1.0),
        ("t", True),
        ("p", 61837.63),
        ("p", None),
        ("q", 2),
        ("q", ["1"]),
        ("T", "1723161255342"),
        ("T", False),
        ("m", 1),
        ("m", "true"),
        ("e", 5),
        ("X", 1),
    ],
)
def test_wrong_type(name: str, value: Any) -> None:
    assert reason_of(frame(**{name: value})) == "wrong_type"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p": "NaN"}, "malformed_decimal"),
        ({"p": "Infinity"}, "malformed_decimal"),
        ({"q": "-inf"}, "malformed_decimal"),
        ({"q": "1e5"}, "malformed_decimal"),
        ({"q": ""}, "malformed_decimal"),
        ({"q": " 1"}, "malformed_decimal"),
        ({"q": "1_000"}, "malformed_decimal"),
        ({"q": "١٢"}, "malformed_decimal"),
        ({"q": "1."}, "malformed_decimal"),
        ({"p": "1" * 40}, "decimal_out_of_range"),
        ({"p": "12345678901"}, "decimal_out_of_range"),
        ({"q": "0.123456789"}, "decimal_out_of_range"),
        ({"t": -1}, "invalid_trade_id"),
        ({"t": 10**39}, "integer_out_of_range"),
        ({"T": 10**18}, "timestamp_out_of_range"),
        ({"T": 10**39}, "integer_out_of_range"),
        ({"s": "\ud800"}, "malformed_encoding"),
        ({"s": "BTCUSD_PERP"}, "wrong_venue"),
    ],
)
def test_unrepresentable_value(changes: dict[str, Any], reason: str) -> None:
    assert reason_of(frame(**changes)) == reason


def test_widest_values_that_fit_are_taken() -> None:
    event = spot(frame(p="9999999999.99999999", t=2**63 - 1, T=-62135596800000))
    assert event["price"] == Decimal("9999999999.99999999")
    assert event["trade_id"] == 2**63 - 1


def test_contracts_are_never_booked_as_coins() -> None:
    assert reason_of(frame(), venue="binance_coinm") == "wrong_venue"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty_frame"),
        (b" \r", "empty_frame"),
        (frame()[:-20], "malformed_json"),
        (frame() + b"}", "malformed_json"),
        (b'{"t": ' + b"9" * 5_000 + b"}", "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b"\xff\xfe\x00", "malformed_encoding"),
        (frame().replace(b'"61837.63000000"', b"NaN"), "non_finite_number"),
        (frame().replace(b"3735683259", b"-Infinity"), "non_finite_number"),
        (b"[1, 2]", "not_an_object"),
        (b'"trade"', "not_an_object"),
        (b"{}", "unknown_frame"),
        (b'{"stream": 5, "data": {}}', "wrong_type"),
        (b'{"stream": "btcusdt@trade", "data": []}', "wrong_type"),
    ],
)
def test_frame_that_is_no_message(payload: bytes, reason: str) -> None:
    assert reason_of(payload) == reason


def test_ten_megabytes_in_one_field_are_shown_in_short() -> None:
    with pytest.raises(FrameRejectedError) as caught:
        spot(frame(p="9" * 10_000_000))
    assert caught.value.reason == "decimal_out_of_range"
    assert len(caught.value.detail) < 300


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([1])
)
CHANGES = st.dictionaries(st.sampled_from([*SPOT_TRADE, "X"]), VALUES, max_size=3)


# The health check measures how busy the machine is.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=64) | st.builds(lambda changes: frame(**changes), CHANGES))
def test_nothing_escapes_but_rejections(payload: bytes) -> None:
    for venue in VENUES.values():
        with suppress(FrameRejectedError):
            event = venue.adapt(payload, None)
            assert event is None or not is_trade(event) or event["event_type"] == "TRADE"


def test_stream_address_names_every_symbol() -> None:
    venue = venue_named("binance_coinm")
    address = venue.stream_address("ws://localhost:9/", ["BTCUSD_PERP", "ETHUSD_PERP"])
    _, streams = address.split("?streams=")
    assert streams.split("/") == [
        *("btcusd_perp@trade", "btcusd_perp@bookTicker"),
        *("ethusd_perp@trade", "ethusd_perp@bookTicker"),
    ]


def test_venue_is_read_from_the_name_of_a_file() -> None:
    assert venue_of_file(Path("x/binance_spot_btcusdt.trades.gz")).name == "binance_spot"
    for name in ("binance_spotty.gz", "trades.gz"):
        with pytest.raises(UnknownVenueError, match="--venue"):
            venue_of_file(Path(name))
    with pytest.raises(UnknownVenueError, match="binance_usdm"):
        venue_named("kraken")


@pytest.mark.parametrize(
    ("name", "trades", "quantity"),
    [
        ("binance_spot_btcusdt", 19_904, "437.91552"),
        ("binance_spot_ethusdt", 14_515, "4272.7241"),
        ("binance_coinm_btcusd_perp", 5_235, "182183"),
        ("binance_coinm_ethusd_perp", 3_595, "459497"),
    ],
)
def test_shipped_sample_is_whole(name: str, trades: int, quantity: str) -> None:
    path = SAMPLE / f"{name}.trades.gz"
    adapt = venue_of_file(path).adapt
    with gzip.open(path) as lines:
        events = [adapt(line.partition(b" ")[2], None) for line in lines]
    ids = [event["trade_id"] for event in events if event]
    assert ids == list(range(ids[0], ids[0] + trades))
    assert sum(event["quantity"] or 0 for event in events if event) == Decimal(quantity)


SPOT_QUOTE = {"u": 7, "s": "BTCUSDT", "b": "100.10", "B": "2", "a": "100.30", "A": "1.5"}
COINM_QUOTE = SPOT_QUOTE | {"e": "bookTicker", "s": "BTCUSD_PERP", "T": 1723161257465}


@pytest.mark.parametrize(
    "frame_of",
    [lambda data: data, lambda data: {"stream": "btcusdt@bookTicker", "data": data}],
    ids=["bare", "combined"],
)
def test_spots_quote_has_the_time_of_its_receipt_and_says_so(
    frame_of: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    quote = venue_named("binance_spot").adapt(json.dumps(frame_of(SPOT_QUOTE)), 1_000_001)
    assert quote == {
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "update_id": 7,
        "event_time": 1_000_001,
        "time_source": "RECEIVED",
        "bid_price": Decimal("100.10"),
        "bid_quantity": Decimal(2),
        "ask_price": Decimal("100.30"),
        "ask_quantity": Decimal("1.5"),
        "quantity_unit": "BASE",
        "received_at": 1_000_001,
    }


def test_a_futures_quote_has_the_exchanges_time() -> None:
    quote = venue_named("binance_coinm").adapt(json.dumps(COINM_QUOTE), 5)
    assert quote is not None
    assert (quote["event_time"], quote["quantity_unit"]) == (1723161257465000, "CONTRACT")
    assert not is_trade(quote)
    assert quote["time_source"] == "EXCHANGE"


@pytest.mark.parametrize(
    ("changes", "received_at", "reason"),
    [
        ({"b": None}, 5, "wrong_type"),
        ({"u": -1}, 5, "invalid_update_id"),
        ({"A": "NaN"}, 5, "malformed_decimal"),
        ({"s": "BTCUSD_PERP"}, 5, "wrong_venue"),
        ({}, None, "missing_time"),
    ],
)
def test_a_quote_that_cannot_be_read_is_refused(
    changes: dict[str, Any], received_at: int | None, reason: str
) -> None:
    with pytest.raises(FrameRejectedError) as refused:
        venue_named("binance_spot").adapt(json.dumps(SPOT_QUOTE | changes), received_at)
    assert refused.value.reason == reason

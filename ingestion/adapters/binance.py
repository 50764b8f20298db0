"""Binance's three markets: spot, coin-margined futures, and USD-margined futures.

Frames are those of the exchange's public market streams, either wrapped by a combined stream
(``{"stream": "btcusdt@trade", "data": {…}}``) or bare. Its fields: ``s`` symbol, ``t`` trade id,
``p`` price and ``q`` quantity as strings of digits, ``T`` trade time in ms, ``m`` whether the
buyer was the maker, and on futures ``X``, what kind of execution it was; of the best bid and offer
``u`` the order book's update id, ``b``, ``B``, ``a``, ``A`` price and quantity of bid and offer.
Spot states no time of a quote: the time at which it was received stands in.

The units differ. Spot and USD-margined markets count the base currency. Coin-margined futures
count contracts, each worth a fixed amount of US dollars.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from ingestion.adapters.canonical import (
    FrameRejectedError,
    MarketEvent,
    QuoteEvent,
    TradeEvent,
    boolean_field,
    decimal_field,
    integer_field,
    milliseconds_field,
    shown,
    string_field,
)

# The exchange's contract specification: a BTC contract is worth 100 USD, all others 10 USD.
BTC_CONTRACT_SIZE: Final = Decimal(100)
OTHER_CONTRACT_SIZE: Final = Decimal(10)
# Coin-margined symbols are "<coin>USD_<PERP or delivery date>"; no other market's are.
COIN_MARGINED_MARK: Final = "USD_"

# Keys that mark a bare frame as one of another kind: replies to requests, order book snapshots.
_OTHER_KINDS: Final = ({"result", "id"}, {"error"}, {"lastUpdateId"})
# Keys of spot's best bid and offer, which carries no event type.
_QUOTE: Final = {"u", "s", "b", "B", "a", "A"}


@dataclass(frozen=True)
class Market:
    """One of the exchange's markets: its name here, its stream server, and how it counts."""

    venue: str
    base_address: str
    coin_margined: bool = False

    def event(self, frame: bytes | str, received_at: int | None = None) -> MarketEvent | None:
        """Turn one frame into a canonical event.

        Args:
            frame: The frame's JSON, as received.
            received_at: When it was received, in UTC microseconds, if that is known.

        Returns:
            The event, or None when the frame is well-formed but reports neither a market trade
            nor a quote: another stream, a reply, or an execution against the exchange's insurance
            fund.

        Raises:
            FrameRejectedError: The frame cannot be read, or is a trade or a quote with missing,
                wrongly typed or unrepresentable fields.
        """
        decoded = _decode(frame)
        if (quote := _quote_fields(decoded)) is not None:
            return self._quote(quote, received_at)
        if (trade := _trade_fields(decoded)) is not None:
            return self._trade(trade, received_at)
        return None

    def _quote(self, fields: dict[str, object], received_at: int | None) -> QuoteEvent:
        symbol = self._symbol(fields)
        stated = "T" in fields
        if not stated and received_at is None:
            raise FrameRejectedError("missing_time", "the quote has no time, and none of receipt")
        update_id = integer_field(fields, "u")
        if update_id < 0:
            raise FrameRejectedError("invalid_update_id", f"field 'u' is {update_id}: ids count up")
        return QuoteEvent(
            venue=self.venue,
            symbol=symbol,
            update_id=update_id,
            event_time=milliseconds_field(fields, "T") if stated else received_at or 0,
            time_source="EXCHANGE" if stated else "RECEIVED",
            bid_price=decimal_field(fields, "b"),
            bid_quantity=decimal_field(fields, "B"),
            ask_price=decimal_field(fields, "a"),
            ask_quantity=decimal_field(fields, "A"),
            quantity_unit=self._quantity_unit,
            received_at=received_at,
        )

    def _trade(self, fields: dict[str, object], received_at: int | None) -> TradeEvent:
        symbol = self._symbol(fields)
        trade_id = integer_field(fields, "t")
        if trade_id < 0:
            raise FrameRejectedError("invalid_trade_id", f"field 't' is {trade_id}: ids count up")
        return TradeEvent(
            event_type="TRADE",
            venue=self.venue,
            symbol=symbol,
            trade_id=trade_id,
            event_time=milliseconds_field(fields, "T"),
            price=decimal_field(fields, "p"),
            quantity=decimal_field(fields, "q"),
            quantity_unit=self._quantity_unit,
            contract_size=_contract_size(symbol) if self.coin_margined else None,
            # A buyer that was resting in the book was hit by a seller.
            aggressor_side="SELL" if boolean_field(fields, "m") else "BUY",
            received_at=received_at,
        )

    @property
    def _quantity_unit(self) -> str:
        return "CONTRACT" if self.coin_margined else "BASE"

    def _symbol(self, fields: dict[str, object]) -> str:
        """Refuse another market's frames: contracts would be booked as coins, or coins as them."""
        symbol = string_field(fields, "s")
        if (COIN_MARGINED_MARK in symbol) != self.coin_margined:
            raise FrameRejectedError(
                "wrong_venue",
                f"symbol {shown(symbol)} is not listed on {self.venue}: only coin-margined symbols "
                f"have {COIN_MARGINED_MARK!r} in their names",
            )
        return symbol


MARKETS: Final = (
    Market("binance_spot", "wss://stream.binance.com:9443"),
    Market("binance_coinm", "wss://dstream.binance.com", coin_margined=True),
    Market("binance_usdm", "wss://fstream.binance.com"),
)


def stream_address(base: str, symbols: Sequence[str]) -> str:
    """Return the address of the combined stream of these symbols' trades and quotes."""
    kinds = ("trade", "bookTicker")
    streams = "/".join(f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds)
    return f"{base.rstrip('/')}/stream?streams={streams}"


def _contract_size(symbol: str) -> Decimal:
    return BTC_CONTRACT_SIZE if symbol.startswith("BTCUSD_") else OTHER_CONTRACT_SIZE


def _refuse_constant(token: str) -> NoReturn:
    raise FrameRejectedError("non_finite_number", f"{token} is not a number that JSON allows")


# Python reads NaN and Infinity as numbers unless told not to.
_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode(frame: bytes | str) -> dict[str, object]:
    try:
        text = frame if isinstance(frame, str) else frame.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FrameRejectedError("malformed_encoding", f"the frame is no UTF-8: {error}") from None
    if not text.strip():
        raise FrameRejectedError("empty_frame", "the frame is empty")
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        # Besides broken syntax: integers of thousands of digits, and absurdly deep nesting.
        raise FrameRejectedError("malformed_json", f"the frame is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameRejectedError("not_an_object", f"the frame is {shown(value)}, not an object")
    return value


def _quote_fields(frame: dict[str, object]) -> dict[str, object] | None:
    """Return the fields of a best bid and offer, or None for a frame of any other kind."""
    stream = frame.get("stream")
    says_quote = isinstance(stream, str) and stream.endswith("@bookTicker")
    fields = frame.get("data", frame)
    if not isinstance(fields, dict):
        if says_quote:
            raise FrameRejectedError("wrong_type", f"field 'data' is {shown(fields)}, no object")
        return None
    kind = fields.get("e", "bookTicker" if says_quote or fields.keys() >= _QUOTE else None)
    return fields if kind == "bookTicker" else None


def _trade_fields(frame: dict[str, object]) -> dict[str, object] | None:
    """Return the fields of a market trade, or None for a frame of any other kind."""
    stream = string_field(frame, "stream") if "stream" in frame else None
    says_trade = stream is not None and stream.endswith("@trade")
    fields = frame.get("data", frame)
    if not isinstance(fields, dict):
        if stream is None or says_trade:
            raise FrameRejectedError("wrong_type", f"field 'data' is {shown(fields)}, no object")
        return None
    if "e" not in fields:
        if says_trade:
            raise FrameRejectedError("missing_field", "field 'e' is missing")
        if stream is None and not any(keys <= fields.keys() for keys in _OTHER_KINDS):
            raise FrameRejectedError("unknown_frame", f"no known kind of frame: {shown(fields)}")
        return None
    if string_field(fields, "e") != "trade":
        return None
    # Executions against the insurance fund and the like print at prices off the market.
    if "X" in fields and string_field(fields, "X") != "MARKET":
        return None
    return fields

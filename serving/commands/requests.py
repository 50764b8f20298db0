"""What may be asked for, checked as far as it can be before the log has it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lakehouse.transforms.bounds import (
    EARLIEST_EVENT_TIME,
    LATEST_AHEAD_OF_LOG,
    MAX_CONTRACT_SIZE,
    MAX_NOTIONAL,
    SYMBOL,
    VENUE,
)
from serving.parameters import NAME_PATTERN, Instant

# decimal(18,8), as in the events: ten digits before the point and eight after it.
DECIMAL_PATTERN = r"^[0-9]{1,10}(\.[0-9]{1,8})?$"
MAX_LONG = 2**63 - 1


def _only_text(value: object) -> object:
    # A number would be a binary fraction, with other digits than were sent, or seconds since 1970.
    if isinstance(value, float | int):
        raise ValueError("must be text")  # noqa: TRY004 - a fault of the body
    return value


Amount = Annotated[
    Decimal,
    BeforeValidator(_only_text),
    Field(gt=0, max_digits=18, decimal_places=8),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN}),
]


class TradeCorrection(BaseModel):
    """A trade's new price and quantity, or that it is cancelled."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "correction",
                    "venue": "binance_spot",
                    "symbol": "BTCUSDT",
                    "trade_id": 3741032,
                    "event_time": "2024-08-08T23:59:58.123000Z",
                    "price": "61699.20",
                    "quantity": "0.00250000",
                }
            ]
        },
    )

    kind: Literal["correction", "cancellation"] = Field(description="A cancellation is for good.")
    venue: str = Field(pattern=f"^{VENUE}$", description="Venue code.")
    symbol: str = Field(pattern=f"^{SYMBOL}$", description="Instrument as the venue writes it.")
    trade_id: int = Field(
        strict=True, ge=0, le=MAX_LONG, description="The venue's number of the trade."
    )
    event_time: Annotated[Instant, BeforeValidator(_only_text)] = Field(
        description="When the trade was executed, as its row says: it is found by id and minute."
    )
    quantity_unit: Literal["BASE", "CONTRACT"] = Field(
        default="BASE", description="What the venue counts in: coins, or contracts."
    )
    contract_size: Amount | None = Field(
        default=None, description="Quote currency of a contract; of CONTRACT only."
    )
    price: Amount | None = Field(
        default=None, validate_default=True, description="The new price; of a correction only."
    )
    quantity: Amount | None = Field(
        default=None,
        validate_default=True,
        description="The new quantity, in quantity_unit; of a correction only.",
    )

    @field_validator("event_time")
    @classmethod
    def _timely(cls, value: datetime) -> datetime:
        if not EARLIEST_EVENT_TIME <= value <= datetime.now(UTC) + LATEST_AHEAD_OF_LOG:
            raise ValueError(f"must be from {EARLIEST_EVENT_TIME:%Y} to the present")
        return value.astimezone(UTC)

    @field_validator("price", "quantity")
    @classmethod
    def _of_a_correction(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        kind = info.data.get("kind")
        if kind == "correction" and value is None:
            raise ValueError("a correction states it")
        if kind == "cancellation" and value is not None:
            raise ValueError("a cancellation has none")
        return value

    @field_validator("contract_size")
    @classmethod
    def _plausible_contract(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and value > MAX_CONTRACT_SIZE:
            raise ValueError(f"must be at most {MAX_CONTRACT_SIZE}")
        return value

    @model_validator(mode="after")
    def _plausible(self) -> "TradeCorrection":
        of_contracts = self.kind == "correction" and self.quantity_unit == "CONTRACT"
        if of_contracts != (self.contract_size is not None):
            raise ValueError("contract_size goes with a correction in CONTRACT, and with no other")
        if self.price and self.quantity and self.price * self.quantity > MAX_NOTIONAL:
            raise ValueError(f"price times quantity must be at most {MAX_NOTIONAL}")
        return self


class ErasureRequest(BaseModel):
    """Whose personal data nobody is to read any more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"customer_id": "C-00042"}]}
    )

    customer_id: str = Field(pattern=NAME_PATTERN, description="The CRM's id of the customer.")

"""What the API serves: each resource declared once."""

from datetime import timedelta

from serving.api.relations import Relation, Resource

_INSTRUMENT = ("base_currency", "quote_currency", "kind", "tick_size", "lot_size", "contract_size")
_BY_INSTRUMENT = ("venue", "symbol")

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "/v1/bars",
        "Open, high, low, close and volume of an instrument's minute or hour.",
        "market",
        {
            "1m": Relation(
                "serving.bars_1m",
                "gold.bars_1m",
                order=(*_BY_INSTRUMENT, "window_start"),
                time="window_start",
                live="bars_1m",
                hides="trade_count",
            ),
            "1h": Relation(
                "serving.bars_1h",
                "gold.bars_1h",
                order=(*_BY_INSTRUMENT, "window_start"),
                time="window_start",
                minutes=timedelta(hours=1),
            ),
        },
        filters=_BY_INSTRUMENT,
    ),
    Resource(
        "/v1/trades",
        "A trade that counts.",
        "market",
        {
            "": Relation(
                "serving.trades",
                "silver.trades",
                order=(*_BY_INSTRUMENT, "event_time", "trade_id"),
                time="event_time",
            )
        },
        filters=_BY_INSTRUMENT,
    ),
    Resource(
        "/v1/spreads",
        "Middle and time-weighted spread of an instrument's minute.",
        "market",
        {
            "": Relation(
                "serving.spreads_1m",
                "gold.spreads_1m",
                order=(*_BY_INSTRUMENT, "window_start"),
                time="window_start",
                live="spreads_1m",
            )
        },
        filters=_BY_INSTRUMENT,
    ),
    Resource(
        "/v1/positions/{customer}",
        "What a customer holds of an instrument, and what was made of it.",
        "clients",
        {
            "": Relation(
                "serving.positions",
                "gold.positions",
                order=("customer_id", *_BY_INSTRUMENT),
                added={
                    "mark_price": "gold.bars_1m.close",
                    "marked_at": "gold.bars_1m.window_start",
                    "market_value": "gold.positions.cost_basis",
                    "unrealised_pnl": "gold.positions.realised_pnl",
                },
                routed_by=("customer_id",),
                live="positions",
                hides="fill_count",
            )
        },
        filters=_BY_INSTRUMENT,
        owner="customer_id",
    ),
    Resource(
        "/v1/market/daily",
        "An instrument's day, with what was known of the instrument then.",
        "market",
        {
            "": Relation(
                "serving.market_daily",
                "gold.market_daily",
                order=(*_BY_INSTRUMENT, "business_date"),
                time="business_date",
                minutes=timedelta(days=1),
                added={name: f"silver.instruments.{name}" for name in _INSTRUMENT},
            )
        },
        filters=_BY_INSTRUMENT,
    ),
    Resource(
        "/v1/instruments",
        "What reference files say of an instrument, from a day on.",
        "market",
        {
            "": Relation(
                "silver.instruments",
                "silver.instruments",
                order=(*_BY_INSTRUMENT, "valid_from"),
                time="valid_from",
            )
        },
        filters=_BY_INSTRUMENT,
    ),
    Resource(
        "/v1/predictions",
        "What a version of a model said at the end of an instrument's minute.",
        "market",
        {
            "": Relation(
                "gold.predictions",
                "gold.predictions",
                order=(*_BY_INSTRUMENT, "window_start", "model", "version"),
                time="window_start",
            )
        },
        filters=(*_BY_INSTRUMENT, "model"),
    ),
    Resource(
        "/v1/reconciliations",
        "What a comparison of the two layers found, the latest first.",
        "operations",
        {
            "": Relation(
                "ops.reconciliations",
                "ops.reconciliations",
                order=("-recorded_at", "run_id", "table_name"),
                time="recorded_at",
            )
        },
        filters=("table_name", "verdict"),
    ),
    Resource(
        "/v1/dead-letters",
        "How many events were refused, by topic, stage and reason.",
        "operations",
        {
            "": Relation(
                "bronze.dead_letters",
                "bronze.dead_letters",
                order=("topic", "stage", "reason"),
                time="ingested_at",
                counted=("topic", "stage", "reason"),
            )
        },
        filters=("topic", "reason"),
    ),
)

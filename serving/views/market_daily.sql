-- One row per venue, symbol and UTC day with a trade, with what was known of the instrument on that
-- day. That comes from reference files (silver.instruments) and is null where none has told.
SELECT
    rolled_up.*,
    instruments.base_currency,
    instruments.quote_currency,
    instruments.kind,
    instruments.tick_size,
    instruments.lot_size,
    instruments.contract_size
FROM ROLLED_UP(CAST(window_start AT TIME ZONE 'UTC' AS date), 'business_date')
LEFT JOIN lake.silver.instruments AS instruments
    ON instruments.venue = rolled_up.venue
    AND instruments.symbol = rolled_up.symbol
    AND instruments.valid_from <= rolled_up.business_date
    AND (instruments.valid_to IS NULL OR rolled_up.business_date < instruments.valid_to)

-- One row per venue, symbol and UTC day with a trade.
SELECT *
FROM ROLLED_UP(CAST(window_start AT TIME ZONE 'UTC' AS date), 'business_date')

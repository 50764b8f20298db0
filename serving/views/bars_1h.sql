-- One row per venue, symbol and UTC hour with a trade.
SELECT *
FROM ROLLED_UP(date_trunc('hour', window_start), 'window_start')

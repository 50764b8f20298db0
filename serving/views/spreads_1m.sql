-- One row per venue, symbol and minute with a quote: middle and time-weighted spread, as the layer
-- knows them that has seen more of the log.
SELECT *
FROM MERGED('gold.spreads_1m')

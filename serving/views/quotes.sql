-- One row per change of the best bid or offer. An order book's update id counts within its minute,
-- so the minute is part of the key.
SELECT *
FROM MERGED('silver.quotes', date_trunc('minute', event_time))

"""``gold.features_1m``: made of what the runs of trades and of quotes have published."""

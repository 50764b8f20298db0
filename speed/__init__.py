"""The speed layer: Kafka to silver_rt to gold_rt, seconds behind the market."""

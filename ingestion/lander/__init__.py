"""The lander: Kafka to bronze, exactly once, with nothing but PyIceberg and librdkafka."""

"""Contracts and Avro schemas, and the code that turns them into tables and subjects."""

"""``lakehouse metrics``: what the lake's metadata and audit tables know, as Prometheus metrics."""

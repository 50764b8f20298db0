"""Verbs as drivers on a Spark cluster."""

"""The real stack on one machine: native servers, with their real configuration from ``infra/``."""

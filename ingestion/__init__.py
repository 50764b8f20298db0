"""Everything that brings events in: adapters, producers, and the lander to bronze."""

"""The live tier: open windows and positions, milliseconds behind the log."""

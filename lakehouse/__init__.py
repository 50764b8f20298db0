"""The shared kernel: what every room stands on, and nothing of what any room does."""

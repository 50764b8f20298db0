"""The definitions: pure DataFrame functions that both the batch and the speed layer run."""

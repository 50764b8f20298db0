"""The serving layer: the merged view and the engines that read it."""

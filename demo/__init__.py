"""The guided tour: the whole loop on a recorded sample, checked by an independent oracle."""

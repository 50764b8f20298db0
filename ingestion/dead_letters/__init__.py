"""Dead letters: count them, look at one, and give them another try after a fix."""

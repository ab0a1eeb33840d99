"""One training loop and the four stages that run in it."""

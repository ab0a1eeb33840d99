"""Encoders of what is known: the source frame and the pokes."""

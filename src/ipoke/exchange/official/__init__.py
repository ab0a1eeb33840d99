"""Checkpoints of the released implementation, imported."""

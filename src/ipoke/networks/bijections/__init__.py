"""Invertible layers with exact log-determinants, conditional and not."""

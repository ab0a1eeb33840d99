"""Building blocks that know nothing of clips or pokes."""

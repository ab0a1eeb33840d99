"""Numbers about models: features, statistics, value."""

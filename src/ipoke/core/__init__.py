"""What every room stands on: errors, files, settings, runs, and reading what people give."""

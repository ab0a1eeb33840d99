"""The command line: with `terminal` the one room that parses, prints, and chooses a device."""

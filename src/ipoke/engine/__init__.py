"""C functions for sampling on a CPU, compiled where they are used."""

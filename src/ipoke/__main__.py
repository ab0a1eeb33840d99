"""`python -m ipoke` is `ipoke`."""

from ipoke.cli.program import main

main()

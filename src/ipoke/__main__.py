"""`python -m ipoke` is `ipoke`."""

from ipoke.cli import main

main()

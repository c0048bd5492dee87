"""`python -m penstock` is the command line."""

from penstock.streams.cli import main

main()

"""`python -m vlad` is `vlad`."""

from vlad.cli import main

main()

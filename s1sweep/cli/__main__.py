"""`python -m s1sweep.cli`."""

from s1sweep.cli import main

main()

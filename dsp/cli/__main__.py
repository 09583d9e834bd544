"""`python -m farfield.cli`: the same as `farfield`."""

from farfield.cli import main

main()

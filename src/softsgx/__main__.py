"""python -m softsgx."""

from softsgx.cli import main

main()

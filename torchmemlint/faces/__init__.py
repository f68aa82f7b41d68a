"""Where users meet the linter: the command line, flake8, reports. Nothing below this room may import it."""

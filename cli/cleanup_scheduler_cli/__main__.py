"""`python -m cleanup_scheduler_cli`: the same as `cleanup-cli`."""

from cleanup_scheduler_cli.main import main

main()

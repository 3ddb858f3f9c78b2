"""``python -m pytest_cleanup_scheduler.orchestrator``: for repositories without a script of their own."""

from pytest_cleanup_scheduler.orchestrator import main

main()

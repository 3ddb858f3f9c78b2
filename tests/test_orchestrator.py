#!/usr/bin/env python3
"""Run test suites, each in a Kubernetes Job: ``./tests/test_orchestrator.py integration``.

Works from any folder and with any Python: where the product is not installed, the checkout's own environment
is used. Holds no tests, in spite of its name.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

__test__ = False
CHECKOUT = Path(__file__).resolve().parent.parent
INSTALLED = CHECKOUT / ".venv" / "bin" / "python"

if __name__ == "__main__":
    if importlib.util.find_spec("pytest_cleanup_scheduler") is None:
        if not INSTALLED.exists():
            sys.exit(f"error: cleanup-scheduler is not installed; run `make -C {CHECKOUT} test` once")
        os.execv(INSTALLED, [str(INSTALLED), str(Path(__file__).resolve()), *sys.argv[1:]])  # noqa: S606
    from pytest_cleanup_scheduler.orchestrator import main

    main(CHECKOUT)

"""The worker's log on standard error: a line for people, or a JSON object per line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from cleanup_scheduler.engine.report import printable

LogFormat = Literal["text", "json"]
_OURS = "cleanup_scheduler"


def set_up(log_format: LogFormat, *, verbose: bool) -> None:
    """Our own words at INFO (DEBUG when ``verbose``), other libraries' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(logging.DEBUG if verbose else logging.INFO)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class TextLines(logging.Formatter):
    """``2026-01-31T09:30:00.000+00:00 INFO gone job/x …``; tracebacks follow in full."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname} {printable(record.getMessage())}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonLines(logging.Formatter):
    """One object per record; what a line is about stands beside its message, in fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        item = getattr(record, "item", None)
        if item is not None:
            fields |= {key: value for key, value in msgspec.to_builtins(item).items() if value}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)

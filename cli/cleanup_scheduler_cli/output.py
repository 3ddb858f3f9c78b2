"""Data to stdout, talk to stderr; colour, columns fitted to the window and a pager on a terminal only.

Refuses to interpret what it prints: no markup, no control characters of others.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import click

from cleanup_scheduler_cli.text import safe

Format = Literal["table", "wide", "json", "yaml", "name", "csv"]
Row = Sequence[object]
# rich's names; by the words that stand in a STATUS column
_STYLES: Final = {
    "given-up": "bold red",
    "failed": "red",
    "died": "red",
    "silent": "yellow",
    "preserved": "yellow",
    "due": "yellow",
    "deleting": "yellow",
    "waiting": "cyan",
    "running": "cyan",
    "gone": "green",
    "passed": "green",
    "alive": "green",
}


class Output:
    """One per invocation."""

    def __init__(self, *, no_color: bool = False) -> None:
        self.terminal = sys.stdout.isatty()
        self.color = self.terminal and not no_color and not os.environ.get("NO_COLOR")
        self._page: list[str] | None = None

    def say(self, text: str) -> None:
        """Talk: to stderr."""
        click.echo(safe(text, keep="\n"), err=True)

    def line(self, text: str = "", *, bold: bool = False) -> None:
        """A line of data."""
        shown = safe(text)
        self._put((click.style(shown, bold=True) if bold and self.color else shown) + "\n")

    def text(self, text: str) -> None:
        """Text of our own, or made safe by :func:`~cleanup_scheduler_cli.text.safe_log`."""
        self._put(text)

    def raw(self, body: bytes) -> None:
        """Bytes as they are; for what is not a terminal."""
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()

    def json(self, value: Any) -> None:
        """JSON of a struct. ASCII only, so that nothing in it can move a cursor."""
        import json

        import msgspec

        text = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=True)
        self._put(text.replace("\x7f", "\\u007f") + "\n")

    def yaml(self, value: Any) -> None:
        """YAML of a struct; what is not printable is escaped by the format itself."""
        import msgspec
        import yaml

        self._put(yaml.safe_dump(msgspec.to_builtins(value), sort_keys=False, allow_unicode=False))

    def csv(self, header: Sequence[str], rows: Iterable[Row]) -> None:
        """For programs; a cell that a spreadsheet would take for a formula gets a quote in front."""
        import csv
        import io

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([[_cell(value) for value in row] for row in rows])
        self._put(buffer.getvalue())

    def table(self, header: Sequence[str], rows: Iterable[Row], *, indent: int = 0) -> None:
        """Columns, under upper-case heads if there are any; on a terminal they are fitted to its width."""
        texts = [[safe(_text(value)) for value in row] for row in rows]
        if self.terminal:
            self._put(_fitted(header, texts, indent, color=self.color))
        else:
            lines = _columns([list(header), *texts] if header else texts)
            self._put("".join(" " * indent + line + "\n" for line in lines))

    @contextmanager
    def paged(self) -> Iterator[None]:
        """What is printed inside goes through the pager when stdout is a terminal that it does not fit on."""
        if not self.terminal:
            yield
            return
        self._page = []
        try:
            yield
        finally:
            text, self._page = "".join(self._page), None
            if text.count("\n") < shutil.get_terminal_size().lines:
                self._put(text)
            else:
                os.environ.setdefault("LESS", "FRX")
                click.echo_via_pager(text, color=self.color)

    def _put(self, text: str) -> None:
        if self._page is not None:
            self._page.append(text)
        else:
            click.echo(text, nl=False, color=self.color)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _cell(value: object) -> str:
    text = safe(_text(value), keep="\n")
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _columns(rows: list[list[str]]) -> Iterator[str]:
    """Left-aligned, two spaces between, nothing cut off: for files and pipes."""
    from unicodedata import combining, east_asian_width

    def width(text: str) -> int:
        return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)

    if not rows:
        return
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (text + " " * (wide - width(text)) for text, wide in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _fitted(header: Sequence[str], rows: list[list[str]], indent: int, *, color: bool) -> str:
    import io

    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.show_header = bool(header)
    for name in header or [""] * len(rows[0] if rows else ()):
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(text, style=_STYLES.get(text.strip(), "")) for text in row))
    file = io.StringIO()
    width = shutil.get_terminal_size().columns
    console = Console(
        file=file, width=width, force_terminal=True, no_color=not color, highlight=False, markup=False
    )
    console.print(Padding(table, (0, 0, 0, indent)))
    return file.getvalue()

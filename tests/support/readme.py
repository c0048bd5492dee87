"""README.md in pieces: its fenced blocks, its tables and the commands that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def section(title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", TEXT, re.MULTILINE)
    assert found, f"README.md has no section {title!r}"
    rest = TEXT[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [match[2] for match in _BLOCK.finditer(text) if match[1] == language]


def lines(text: str = TEXT) -> list[str]:
    """The lines that a person types, without their comments."""
    typed = [line.partition("  #")[0].partition(" # ")[0].rstrip() for line in "".join(blocks("sh", text)).splitlines()]
    return [line for line in typed if line and not line.startswith("#")]


def prose(text: str = TEXT) -> str:
    """Everything but the fenced blocks."""
    return _BLOCK.sub("", text)


def inline(text: str = TEXT) -> list[str]:
    """What stands between single backticks."""
    return _INLINE.findall(prose(text))


def table(*columns: str) -> list[list[str]]:
    """The rows of the one table that begins with these columns; cells are as written."""
    head = "| " + " | ".join(columns) + " |\n"
    assert TEXT.count(f"\n{head}") == 1, f"README.md has not exactly one table {head!r}"
    rows = TEXT.partition(f"\n{head}")[2].splitlines()[1:]
    cells = []
    for row in rows:
        if not row.startswith("|"):
            break
        cells.append([cell.strip() for cell in row.strip()[1:-1].split("|")])
    return cells


def names(cell: str) -> list[str]:
    """What a cell of a table names between backticks."""
    return _INLINE.findall(cell)


def penstock_commands() -> list[list[str]]:
    """The arguments of every `penstock …` on the page, in blocks and in the text."""
    shown = [part.strip() for line in lines() for part in line.split("&&")]
    shown += [text for text in inline() if text.startswith(("penstock ", "uv run penstock ")) and "…" not in text]
    commands = (text.removeprefix("uv run ") for text in shown)
    return [shlex.split(text)[1:] for text in commands if text.startswith("penstock ")]

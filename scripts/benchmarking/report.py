"""A benchmark's rows as a table on the screen, as JSON and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of one benchmark, what they mean, and the machine they were taken on."""

    title: str
    notes: Sequence[str]
    machine: dict[str, str | int]
    rows: Sequence[dict[str, Cell]]

    def show(self) -> None:
        """Print the table."""
        table = Table(title=self.title, caption="\n".join(self.notes))
        for column in self.rows[0]:
            table.add_column(column, justify="left" if column in ("size", "way") else "right")
        for row in self.rows:
            table.add_row(*(_text(x) for x in row.values()))
        Console(width=140).print(table)

    def write(self, folder: Path, name: str) -> None:
        """folder/name.json and folder/name.md."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"title": self.title, "notes": self.notes, "machine": self.machine, "rows": self.rows}
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        columns = list(self.rows[0])
        lines = [f"# {self.title}", "", *self.notes, ""]
        lines += ["Machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()) + ".", ""]
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_text(x) for x in row.values()) + " |" for row in self.rows]
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def _text(x: Cell) -> str:
    if x is None:
        return "-"
    return f"{x:.3g}" if isinstance(x, float) and abs(x) < 1000 else f"{x:.0f}" if isinstance(x, float) else str(x)

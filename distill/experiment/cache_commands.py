"""`scripts/cache_teacher.py list|verify|prune`: what lies in a directory of caches."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from distill.errors import OneLineParser, SettingError
from distill.teachers.record import in_bytes
from distill.teachers.store import Store, stores

DAY = 86400


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; 1 where `verify` found damage.

    Raises:
        SettingError: no such directory or cache.
    """
    parser = OneLineParser(prog="cache_teacher.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("list", "show all caches"), ("verify", "compare all answers with their checksums, and have "
                       "damaged ones asked for again"), ("prune", "delete caches")):  # fmt: skip
        command = commands.add_parser(name, help=text)
        command.add_argument("--dir", default="teacher_cache", help="directory of caches (teacher_cache)")
        if name != "list":
            command.add_argument("keys", nargs="*", metavar="KEY", help="names of caches, or how they begin")
        if name == "prune":
            command.add_argument("--unused-days", type=float, help="those that no run has used for so many days")
    options = parser.parse_args(arguments)
    root = Path(options.dir).expanduser()
    if not root.is_dir():
        raise SettingError(f"--dir={options.dir}: no such directory; caches lie where teaching.dir says")
    found = stores(root)
    if options.command == "list":
        _list(found)
        return 0
    chosen = [store for store in found if not options.keys or store.directory.name.startswith(tuple(options.keys))]
    for key in options.keys:
        if not any(store.directory.name.startswith(key) for store in chosen):
            raise SettingError(f"{key}: no such cache in {root}; `list` shows them")
    return _verify(chosen) if options.command == "verify" else _prune(chosen, bool(options.keys), options.unused_days)


def _list(found: Sequence[Store]) -> None:
    table = Table(box=None)
    for column in ("key", "teacher", "data", "kept", "epochs", "answers", "size", "last used"):
        table.add_column(column, justify="right" if column in ("epochs", "answers", "size") else "left")
    for store in found:
        asked, kept = store.manifest.asked, store.manifest.asked["kept"]
        tables = store.tables()
        table.add_row(
            store.directory.name,
            asked["teacher"]["name"],
            asked["data"]["name"],
            ("all" if kept["top_k"] is None else f"top {kept['top_k']}") + f" of {kept['classes']}, {kept['dtype']}",
            str(sum(table.directory.parent.name == "train" for table in tables)),
            f"{sum(int(table.written().sum()) for table in tables):,}",
            in_bytes(store.bytes_on_disk),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(store.last_used)),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _verify(chosen: Sequence[Store]) -> int:
    damage = 0
    for store in chosen:
        bad = checked = 0
        for table in store.tables():
            rows = table.damaged()
            checked += int(table.written().sum())
            bad += len(rows)
            if len(rows):
                table.forget(rows)
        verdict = f"{bad:,} damaged, and asked for again by the next run" if bad else "all as written"
        print(f"{store.directory.name}  {checked:,} answers, {verdict}")
        damage += bad
    return int(damage > 0)


def _prune(chosen: Sequence[Store], named: bool, unused_days: float | None) -> int:
    if not named and unused_days is None:
        raise SettingError("prune: say which caches: by their keys, or by --unused-days")
    for store in chosen:
        if unused_days is None or time.time() - store.last_used >= unused_days * DAY:
            size = store.bytes_on_disk
            store.remove()
            print(f"{store.directory.name}  deleted, {in_bytes(size)} are free again")
    return 0

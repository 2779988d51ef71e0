"""Runs doc/examples.sql and keeps the result of each example.

run() returns, by function name, the text that doc/reference.md shows. What differs from run to run is
replaced before the tables are laid out: ids, and times near the present.
"""

import csv
import io
import os
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent / "examples.sql"
DATABASE = "pictrepo_examples"
WIDTH = 110

UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
TIME = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00\b")
SHOWN_ID = "01a20578-f357-7fc6-8006-{:012x}"
SHOWN_TIME = datetime(2026, 12, 1, 12, tzinfo=timezone.utc)


def parts(text):
    """Pairs of a function name, or None for a step, and its statements."""
    for part in re.split(r"^-- (?=example: |step$)", text, flags=re.M)[1:]:
        head, _, statements = part.partition("\n")
        kept = "\n".join(line for line in statements.splitlines() if not line.startswith("--")).strip()
        yield (head.removeprefix("example: ") if head != "step" else None), kept


def complaints(pairs, functions):
    names = [name for name, _ in pairs if name]
    for name in functions:
        if names.count(name) != 1:
            yield f"{name} has {names.count(name)} examples; each function has one"
    for name, statement in pairs:
        if name and name not in functions:
            yield f"there is no function {name}"
        elif name and f"pictrepo.{name}(" not in statement:
            yield f"the example of {name} does not call it"
        elif name and not re.fullmatch(r"[^;]*;", statement):
            yield f"the example of {name} is not one statement"


# ----- run -----

def psql(database, script):
    result = subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "--csv", database], input=script, text=True,
                            env=os.environ | {"PGDATABASE": database}, capture_output=True, check=False)
    if result.returncode:
        raise SystemExit(f"{EXAMPLES.name}: {result.stderr.strip()}")
    return result.stdout


def answers(pairs):
    """The rows of each part, header first, as psql prints them."""
    end = "==== end of part"
    script = "SET client_min_messages = warning;\nCREATE EXTENSION pictrepo;\nSET timezone = 'UTC';\n" + "".join(
        f"\\echo {end}\n{statements}\n" for _, statements in pairs)
    psql("postgres", f"SET client_min_messages = warning;\nDROP DATABASE IF EXISTS {DATABASE} WITH (FORCE);\n"
                     f"CREATE DATABASE {DATABASE};")
    try:
        printed = psql(DATABASE, script).split(end + "\n")[1:]
    finally:
        psql("postgres", f"DROP DATABASE {DATABASE} WITH (FORCE);")
    # psql prints an empty line for a single column that is empty.
    return [[row or [""] for row in csv.reader(io.StringIO(text))] for text in printed]


class Mask:
    """Replaces ids by their order of appearance, and times by a fixed day, to the hour."""

    def __init__(self, source):
        self.source, self.now, self.ids = source, datetime.now(timezone.utc), {}

    def id(self, match):
        if match[0] in self.source:
            return match[0]
        return SHOWN_ID.format(self.ids.setdefault(match[0], len(self.ids) + 1))

    def time(self, match):
        hours = round((datetime.fromisoformat(match[0] + ":00") - self.now) / timedelta(hours=1))
        return f"{SHOWN_TIME + timedelta(hours=hours):%F %T}+00" if abs(hours) < 24 else match[0]

    def __call__(self, cell):
        return TIME.sub(self.time, UUID.sub(self.id, cell))


# ----- lay out -----

def is_number(column):
    return bool(column) and all(re.fullmatch(r"-?\d+(\.\d+)?", cell) for cell in column)


def table(rows):
    """As psql lays it out: headers centred, numbers to the right."""
    columns = list(zip(*rows))
    widths = [max(map(len, column)) for column in columns]
    numbers = [is_number(column[1:]) for column in columns]
    head = [" " * ((width - len(name)) // 2) + name for name, width in zip(rows[0], widths)]
    lines = [" " + " | ".join(name.ljust(width) for name, width in zip(head, widths)),
             "+".join("-" * (width + 2) for width in widths)]
    for row in rows[1:]:
        lines.append(" " + " | ".join(cell.rjust(width) if number else cell.ljust(width)
                                      for cell, width, number in zip(row, widths, numbers)))
    count = len(rows) - 1
    return [line.rstrip() for line in lines] + [f"({count} row{'s' * (count != 1)})"]


def record(rows):
    """As psql's expanded display has it, for rows that are too wide."""
    width = max(map(len, rows[0]))
    return [f"{name.ljust(width)} | {cell}".rstrip() for row in rows[1:] for name, cell in zip(rows[0], row)]


def shown(statement, rows):
    lines = table(rows)
    if max(map(len, lines)) > WIDTH:
        lines = record(rows)
    return "\n".join(["```sql", statement, "```", "", "```text", *lines, "```"])


def run(functions):
    """The text of each function's example. functions: the names of those that need one."""
    text = EXAMPLES.read_text()
    pairs = list(parts(text))
    if wrong := list(complaints(pairs, functions)):
        raise SystemExit("\n".join(f"{EXAMPLES.name}: {complaint}" for complaint in wrong))
    mask, results = Mask(text), {}
    for (name, statement), rows in zip(pairs, answers(pairs), strict=True):
        if name:
            results[name] = shown(statement, [[mask(cell) for cell in row] for row in rows])
    return results

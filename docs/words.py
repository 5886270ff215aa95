# SPDX-License-Identifier: MIT
"""words.py: what the names of parameters mean, from words.txt."""
from pathlib import Path


def table():
    rows = {}
    for line in (Path(__file__).parent / "words.txt").read_text().split("\n"):
        if line.strip() and not line.startswith("#"):
            names, _, meaning = line.partition(": ")
            for name in names.split(", "):
                rows[name.strip()] = meaning.strip()
    return rows


ROWS = table()


def of(item, kind, name):
    """By function, type and name, the closest first; "" if none has it."""
    for key in (f"{item.name}({name})", f"{kind} {name}", name):
        if key in ROWS:
            return ROWS[key]
    return ""


def result(item):
    return ROWS.get(f"return {item.result}", "")

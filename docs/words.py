# SPDX-License-Identifier: MIT
"""words.py: what the names of parameters mean, from words.txt."""
import fnmatch
from pathlib import Path


def table():
    rows = {}
    for line in (Path(__file__).parent / "words.txt").read_text().split("\n"):
        if line.strip() and not line.startswith("#"):
            names, _, meaning = line.partition(": ")
            for name in names.split(", "):
                if name in rows:
                    raise SystemExit(f"docs/words.txt: '{name}' stands twice")
                rows[name] = meaning.strip()
    return rows


ROWS = table()
used = set()


def of(item, kind, name):
    """By function, by a pattern of functions, by type, by name alone; "" if none has it."""
    call = f"{item.name}({name})"
    patterns = [key for key in ROWS if "*" in key and fnmatch.fnmatchcase(call, key)]
    for key in (call, *patterns, f"{kind} {name}", name):
        if key in ROWS:
            used.add(key)
            return ROWS[key]
    return ""


def result(item):
    used.add(f"return {item.result}")
    return ROWS.get(f"return {item.result}", "")

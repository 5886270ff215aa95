# SPDX-License-Identifier: MIT
"""cheatsheet.py [--check | --mend]: CHEATSHEET.md, every public function and macro with the
first sentence of its comment, by subject. --check says whether the file is as the headers
are, --mend writes it anew, neither prints it. Read next: headers.py.
"""
import re
import sys

import headers

FILE = headers.ROOT / "CHEATSHEET.md"
MOST = 100  # letters of a line
OPENING = """# Cheat sheet

Every public function and macro, by subject, with the first sentence of its comment in the
headers; there, and on the pages of `./dev docs`, stand shapes, ownership, errors, costs. What
begins with x, y, a, b is a variable on a tape (`ht_var`), and so is a result of which no type
is said. This file is made from the headers by `python3 docs/cheatsheet.py --mend`.
"""


def sentence(text):
    """The first one, and of a long one its first clauses."""
    text = headers.first_sentence(" ".join(text.split("\n\n")[0].split()))[0]
    depth, end = 0, {";:,": 0, "(": 0}
    for at, letter in enumerate(text[:MOST]):
        if depth == 0 and at > 20 and text[at - 1:at + 1] == " (":
            end["("] = at - 1
        elif depth == 0 and at > 20 and re.match(r"[;:,] ", text[at:]):
            end[";:,"] = at
        depth += letter in "([" and 1 or letter in ")]" and -1 or 0
    return text[:end[";:,"] or end["("] or None] if len(text) > MOST else text


def escaped(text):
    return re.sub(r"([|*<>]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def call(item):
    names = [name for _, name in item.parameters]
    if item.kind == "macro":
        return item.name + (f"({', '.join(names)})" if names else "")
    kind = item.result if item.result not in ("ht_var", "void") else ""
    gap = "" if not kind or kind.endswith("*") else " "
    return f"{kind}{gap}{item.name}({', '.join(names)})"


def row(item, link, plain):
    text = plain(sentence(item.doc or item.shared))
    if item.inherited and item.result.startswith("ht_"):
        text = f"`{item.result}`"
    return f"| {link(item, call(item))} | {text} |"


def sheet(link=lambda item, text: f"`{text}`", plain=escaped):
    out = [OPENING]
    for header in headers.HEADERS:
        for section in headers.read(header):
            rows = [row(item, link, plain) for item in section.items
                    if item.kind in ("function", "macro")]
            rules = [item.name for item in section.items if item.kind == "variable"]
            top = section.title.endswith(".h")
            if rows or top:
                title = headers.opening(section)[0] if top else section.title
                out.append(f"\n{'##' if top else '###'} {title}\n")
            if rows:
                out.append("\n| call | what |\n|---|---|\n" + "\n".join(rows) + "\n")
            if len(rules) > 1:
                out.append("\nRules: " + ", ".join(f"`{name}`" for name in rules) + "\n")
    return "".join(out)


if __name__ == "__main__":
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode == "--mend":
        FILE.write_text(sheet())
    elif mode == "--check":
        if not FILE.exists() or FILE.read_text() != sheet():
            sys.exit("CHEATSHEET.md: not as the headers are (python3 docs/cheatsheet.py --mend)")
    else:
        print(sheet(), end="")

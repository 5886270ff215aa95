# SPDX-License-Identifier: MIT
"""audit.py: what a public function's comment lacks, one a line; `./dev lint tree` asks.

A comment says what a function does; where it can fail, how; of an op, its derivative; where
time or memory grow with something, how. What holds for a whole section, or a whole header,
is said there once. A program or a test calls it as it is meant.
Every parameter's name is in words.txt; so is that of a field that has no comment beside it
and is not named in that of its struct. Read next: headers.py.
"""
import re
import sys

import headers
import words

SAYS = {
    "how it fails": r"HT_ERROR|\b[Ee]rrors?\b|[Rr]efused|stops the program|\bNULL\b|"
                    r"poison|NaN after",
    "its derivative, or that it has none": r"[Dd]eriv|[Gg]radient|slope|y'|linear|differentiable",
    "what it costs": r"\b[Cc]osts?\b|O\(|flops|\bpass(es)?\b|\btime\b|[Mm]emory|allocates|"
                     r"\b[A-Za-z]+ log [a-z]+|products|seconds",
}
# Where a call shows little of what a function is for: it is called wrongly, or by all.
NOT_SHOWN = re.compile(r"tests/(misuse|fuzz|install)/")


def can_fail(item):
    owned = re.match(r"(?!const).*\*$", item.result) and not (
        item.parameters and item.parameters[0][0].startswith("const"))
    return item.result == "ht_status" or bool(item.at) or bool(owned)


def is_op(item):
    return item.result == "ht_var" or any(kind == "ht_var *" for kind, _ in item.parameters)


def grows(item):
    """Whether time or memory can: what only answers, or frees, takes neither."""
    writes = any(kind in ("FILE *", "ht_set *", "ht_tensor *") for kind, _ in item.parameters)
    return (can_fail(item) or writes) and not item.name.endswith(("_free", "_message"))


def lacks(item, wider):
    own = item.doc + "\n" + item.shared
    if not own.strip():
        yield "a comment"
    for (what, pattern), needed in zip(SAYS.items(), (can_fail, is_op, grows)):
        if item.kind == "function" and needed(item) and not re.search(pattern, own + wider):
            yield what
    for kind, name in item.parameters:
        if not words.of(item, kind, name):
            yield f"words for its parameter '{name}' ({kind}), in docs/words.txt"


def members_lack(item):
    said = item.doc + " " + item.shared
    for member in item.members:
        row = "" if member.doc else words.of(item, "", member.name)
        if not (member.doc or row or re.search(rf"\b{member.name}\b", said)):
            yield f"a comment for '{member.name}', or words in docs/words.txt"


def shown():
    """Every name that a program, a test or another macro of the headers calls."""
    files = [path for pattern in ("examples/**/*.[ch]", "tests/**/*.[ch]")
             for path in headers.ROOT.glob(pattern)
             if not NOT_SHOWN.match(path.relative_to(headers.ROOT).as_posix())]
    text = [path.read_text() for path in files]
    text += [body for header in headers.HEADERS
             for body in re.findall(r"#define \w+(?:\([^)]*\))? +((?:.*\\\n)*.*)",
                                    (headers.ROOT / header).read_text())]
    edges = (headers.ROOT / "tests/reference/edges.txt").read_text()
    return set(re.findall(r"\b[Hh][Tt]_\w+", "\n".join(text))) | {
        f"ht_{name}" for name in re.findall(r"^(\w+) ", edges, re.M)}


def findings():
    called = shown()
    for path in headers.ROOT.glob("*/ht_*.h"):
        name = path.relative_to(headers.ROOT).as_posix()
        if name not in headers.HEADERS and not name.startswith("build"):
            yield f"{name}:1: is not in the list of docs/headers.py"
    for header in headers.HEADERS:
        sections = headers.read(header)
        for section in sections:
            wider = "\n" + section.doc + "\n" + sections[0].doc
            for item in section.items:
                found = list(lacks(item, wider) if item.kind in ("function", "callback", "macro")
                             else members_lack(item))
                if item.kind in ("function", "macro") and not {item.name, item.at} & called:
                    found.append("a program or a test that shows it")
                words.result(item)
                for lack in found:
                    yield f"{header}:{item.line}: {item.name or 'enum'} lacks {lack}"
    for row in words.ROWS.keys() - words.used:
        yield f"docs/words.txt: nothing is called '{row}'"


if __name__ == "__main__":
    found = list(findings())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))

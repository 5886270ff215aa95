# SPDX-License-Identifier: MIT
"""audit.py: what a public function's comment lacks, one a line; `./dev lint tree` asks.

A comment says what a function does; where it can fail, how; of an op, its derivative; where
time or memory grow with something, how. What holds for a whole section, or a whole header,
is said there once. Every parameter's name is in words.txt; so is that of a field that has
no comment beside it and is not named in that of its struct. Read next: headers.py.
"""
import re
import sys

import headers
import words

SAYS = {
    "errors": r"HT_ERROR|\b[Ee]rrors?\b|[Rr]efused|stops the program|\bNULL\b|poison|NaN after",
    "derivative": r"[Dd]eriv|[Gg]radient|slope|y'|linear|differentiable",
    "cost": r"\bcosts?\b|\bCosts?\b|O\(|flops|\bpass(es)?\b|\btime\b|[Mm]emory|allocates|"
            r"\b[A-Za-z]+ log [a-z]+|products|seconds",
}


def can_fail(item):
    if item.kind != "function":
        return False
    owned = re.match(r"(?!const).*\*$", item.result) and not (
        item.parameters and item.parameters[0][0].startswith("const"))
    return item.result == "ht_status" or bool(item.at) or bool(owned)


def is_op(item):
    return item.kind == "function" and (item.result == "ht_var" or any(
        kind == "ht_var *" for kind, _ in item.parameters))


def grows(item):
    """Whether time or memory can: what only answers, or frees, takes neither."""
    writes = any(kind in ("FILE *", "ht_set *", "ht_tensor *") for kind, _ in item.parameters)
    return (can_fail(item) or writes) and not item.name.endswith(("_free", "_message"))


def lacks(item, wider):
    own = item.doc + "\n" + item.shared
    if not own.strip():
        yield "a comment"
    for what, needed in (("errors", can_fail), ("derivative", is_op), ("cost", grows)):
        if needed(item) and not re.search(SAYS[what], own + "\n" + wider):
            yield {"errors": "how it fails", "derivative": "its derivative, or that it has none",
                   "cost": "what it costs"}[what]
    for kind, name in item.parameters:
        if not words.of(item, kind, name):
            yield f"words for its parameter '{name}' ({kind}), in docs/words.txt"


def members_lack(item):
    said = item.doc + " " + item.shared
    for member in item.members:
        if not (member.doc or words.of(item, "", member.name) or
                re.search(rf"\b{member.name}\b", said)):
            yield f"a comment for '{member.name}', or words in docs/words.txt"


def findings():
    for header in headers.HEADERS:
        sections = headers.read(header)
        for section in sections:
            wider = section.doc + "\n" + sections[0].doc
            for item in section.items:
                found = lacks(item, wider) if item.kind in ("function", "callback", "macro") \
                    else members_lack(item)
                for lack in found:
                    yield f"{header}:{item.line}: {item.name or 'enum'} lacks {lack}"


if __name__ == "__main__":
    found = list(findings())
    print("\n".join(found))
    sys.exit(bool(found))

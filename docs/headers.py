# SPDX-License-Identifier: MIT
"""headers.py: the public headers as a list of what they declare, with its comments.

The headers are C with plain comments. A comment stands above what it is about, or beside it;
one that begins with a title, "Tapes.", and has a blank line behind it opens a section. An
op is a function that takes the call's site, ht_exp_at, and a macro that gives it, ht_exp;
here they are one. Read next: doxygen.py, cheatsheet.py.
"""
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In the order in which they are read.
HEADERS = """tensor/ht_version.h.in tensor/ht_status.h tensor/ht_tensor.h tensor/ht_set.h
    autograd/ht_autograd.h autograd/ht_ops.h nn/ht_nn.h nn/ht_losses.h nn/ht_augment.h
    nn/ht_update.h bilevel/ht_bilevel.h bilevel/ht_outer.h bilevel/ht_single.h
    bilevel/ht_influence.h data/ht_data.h""".split()
KEPT = "\1"  # stands for what is left out of a line, which is then no blank line


@dataclass
class Item:
    """A function, macro, type, constant or variable; of a type, `members` are Items."""

    kind: str
    name: str
    line: int
    doc: str  # lines of prose
    code: str
    shared: str = ""  # a comment above a run of items that have one beside them, each
    members: list = field(default_factory=list)
    result: str = ""  # of a function
    parameters: list = field(default_factory=list)  # (type, name), without the site
    numbers: set = field(default_factory=set)  # parameters that may be numbers
    at: str = ""  # the function under the macro
    inherited: bool = False  # the comment is that of the macro above


def file_name(header):
    return Path(header).name.removesuffix(".in")


@dataclass
class Section:
    header: str
    title: str
    doc: str
    line: int
    items: list = field(default_factory=list)


def prose(comment):
    """The lines of a comment without its marks; an indented one stays so."""
    lines = comment[2:-2].split("\n")
    rest = [re.sub(r"^ *\* ?", "", line) if re.match(r" *\*", line) else line.strip()
            for line in lines[1:]]
    return "\n".join([lines[0].strip(), *(line.rstrip() for line in rest)]).strip("\n")


def preprocessed(text):
    """Without what C does not see, include guards and attributes; lines stay lines."""
    out, skip = [], []
    directive = False
    for line in text.split("\n"):
        word = re.match(r"# *(\w+) *(.*)", line)
        word = word.group(1, 2) if word else ("", "")
        if word[0] in ("if", "ifdef", "ifndef"):
            skip.append(word[1] == "__cplusplus")
        elif word[0] == "else":
            skip[-1] = not skip[-1]
        elif word[0] == "endif":
            skip.pop()
        elif not any(skip) and (directive or word[0] == "define" or not word[0]):
            directive = (directive or bool(word[0])) and line.endswith("\\")
            out.append(line)
            continue
        out.append(KEPT)
    return re.sub(r"__attribute__\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)", KEPT,
                  "\n".join(out))


def statements(text, separator=";", first_line=1):
    """(comment above, code, comment beside, line) of each, and of comments that stand
    alone (comment, "", "", line)."""
    at, above, above_line, comment_last = 0, "", 0, False
    while at < len(text):
        gap = re.compile(r"[\s\1]*").match(text, at)
        if above and re.search(r"\n[ \t]*\n", gap.group()):
            yield above, "", "", above_line
            above = ""
        at = gap.end()
        if at == len(text):
            break
        line = first_line + text.count("\n", 0, at)
        if text.startswith("/*", at):
            end = text.index("*/", at) + 2
            if above:
                yield above, "", "", above_line
            above, above_line, at = text[at:end], line, end
            continue
        code, beside, at = statement(text, at, separator)
        yield above, code, beside, line
        above = ""
    if above:
        yield above, "", "", above_line


def statement(text, at, separator):
    """One from `at` on: code, the comment beside it and where it ends."""
    if text[at] == "#":
        end = re.compile(r"(?:\\\n|[^\n])*").match(text, at).end()
        code = text[at:end]
        beside = re.search(r"/\*.*\*/ *$", code)
        return code[:beside.start()] if beside else code, beside.group() if beside else "", end
    code, depth, beside = [], 0, ""
    while at < len(text):
        if text.startswith("/*", at):
            end = text.index("*/", at) + 2
            if depth == 0:
                beside = text[at:end]
            else:
                code.append(text[at:end])
            at = end
            continue
        letter = text[at]
        depth += letter in "({[" and 1 or letter in ")}]" and -1 or 0
        at += 1
        if depth == 0 and letter == separator:
            break
        code.append(letter)
        body = depth == 0 and letter == "}" and re.search(r"\)\s*\{", "".join(code))
        if body and not re.match(r"(typedef|struct|enum)\b", "".join(code).lstrip()):
            break
    trailing = re.compile(r"[ \t]*(/\*.*?\*/)", re.S).match(text, at)
    if trailing:
        beside, at = trailing.group(1), trailing.end()
    return "".join(code).strip().replace(KEPT, ""), beside, at


def squeezed(code):
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", " ", code, flags=re.S)).strip()


def split_list(text):
    """At commas outside of parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += letter in "({[" and 1 or letter in ")}]" and -1 or 0
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def declared(text):
    """(type, name) of a declarator such as `const ht_var *x` or `int (*f)(void)`."""
    pointer = re.match(r"(.*?)\(\*(\w+)\)(\(.*\))$", text)
    if pointer:
        return f"{pointer.group(1).strip()} (*){pointer.group(3)}", pointer.group(2)
    kind, name, array = re.match(r"(.*?)(\w+)((?:\[[^]]*\])*)$", text).groups()
    return (kind.strip() + array).strip(), name


def members_of(code, line):
    """Those of a struct or an enum."""
    start = code.index("{") + 1
    body = code[start:code.rindex("}")]
    is_enum = code.startswith(("enum", "typedef enum"))
    shared = ""
    for above, text, beside, at in statements(body, "," if is_enum else ";",
                                              line + code.count("\n", 0, start)):
        if not text:
            continue
        doc = prose(beside or above) if beside or above else ""
        if beside and above:
            shared = prose(above)
        elif above:
            shared = ""
        flat = squeezed(text)
        if is_enum:
            yield Item("value", flat.split()[0], at, doc, flat)
        elif "{" in flat:  # a struct within
            name = flat.split()[-1]
            inner = list(members_of(text, at))
            yield Item("member", name, at, doc, flat, members=inner)
        elif "(*" in flat:
            yield Item("member", declared(flat)[1], at, doc, flat)
        else:
            first, *more = split_list(flat)
            kind = re.match(r"(.*?)(\**\w+(\[[^]]*\])*)$", first).group(1)
            for one in [first, *(kind + other for other in more)]:
                yield Item("member", declared(one)[1], at, doc, one, shared=shared)


def function(flat, doc, line):
    head, parameters = re.match(r"([^(]*)\((.*)\)$", flat).groups()
    result, name = declared(head.replace("static inline ", ""))
    pairs = [] if parameters == "void" else [
        ("...", "...") if one == "..." else declared(one) for one in split_list(parameters)]
    return Item("function", name, line, doc, flat, result=result, parameters=pairs)


def items_of(code, doc, line):
    """What one statement declares."""
    flat = squeezed(code)
    if code.startswith("#"):
        named = re.match(r"# *define (\w+)(\([^)]*\))? *(.*)", flat, re.S)
        if named and (named.group(3) or named.group(2)):
            item = Item("macro", named.group(1), line, doc, flat)
            item.parameters = [("", one) for one in split_list((named.group(2) or "")[1:-1])]
            item.result = named.group(3)
            yield item
    elif re.match(r"typedef [^{]*\(\*\w+\)\(", flat):
        kind, name = declared(flat[len("typedef "):])
        pairs = [declared(one) for one in split_list(re.search(r"\)\((.*)\)$", flat).group(1))]
        yield Item("callback", name, line, doc, flat, parameters=pairs,
                   result=kind.split(" (*)")[0])
    elif re.match(r"(typedef )?(struct|enum)\b", flat):
        if "{" not in flat:
            yield Item("handle", flat.split()[-1], line, doc, flat)
            return
        name = re.match(r"(?:typedef )?(?:struct|enum) ?(\w*)", flat).group(1)
        kind = "enum" if "enum" in flat.split("{")[0] else "struct"
        yield Item(kind, name, line, doc, flat, members=list(members_of(code, line)))
    elif flat.startswith("extern"):
        kind = re.match(r"extern (.*?)(\w+)(,|$)", flat).group(1)
        for name in split_list(flat[len("extern " + kind):]):
            yield Item("variable", name, line, doc, f"extern {kind}{name}")
    elif "(" in flat:
        yield function(re.sub(r"\s*\{.*", "", flat), doc, line)


def expanded(code, macros):
    """HT_OP_1(neg) as the prototype it stands for."""
    call = re.match(r"(HT_OP_\w+)\((\w+)\)$", code)
    return macros[call.group(1)].replace("##name##", call.group(2)) if call else code


def section_of(header, comment, line):
    """A comment that stands alone and begins with a title, else none."""
    text = prose(comment)
    ops = re.match(r"Ops: ([\w ]+)", text)
    named = re.match(r"([A-Z][\w', ]{,40}|numpy)(?:\.(?=\s|$)|:(?= ))", text)
    if not named and not ops:
        return None
    if ops:
        title = ops.group(1)
        short = re.match(r"(movement|indices|elementwise|reductions|products and rows|"
                         r"projections|images|normalisation|attention|random numbers)", title)
        title = "Ops: " + (short.group(1) if short else title)
        rest = text[len(title):].lstrip(".,")
    else:
        title, rest = named.group(1), text[named.end():]
    return Section(header, title, rest.strip(), line)


def free(header, above, line, sections):
    """A comment that stands alone: a section begins, or it has more to say."""
    section = section_of(header, above, line)
    if section:
        sections.append(section)
    else:
        sections[-1].doc += "\n\n" + prose(above)


def read(header):
    """The sections of a header; the first is the header itself."""
    text = (ROOT / header).read_text()
    opening = re.search(r"/\* (ht_\w+\.h: .*?)\*/", text, re.S)
    sections = [Section(header, file_name(header), prose("/* " + opening.group(1) + "*/"), 2)]
    text = "\n" * text.count("\n", 0, opening.end()) + text[opening.end():]
    macros, shared, before = {}, "", None
    for above, code, beside, line in statements(preprocessed(text)):
        if not code:
            before = None
            free(header, above, line, sections)
            shared = ""
            continue
        hidden = re.match(r"#\s*define (HT_OP_\w+)\(name\)\s*(?:\\\n)?\s*(.*)", code, re.S)
        if hidden:
            macros[hidden.group(1)] = hidden.group(2)
            if above:
                free(header, above, line, sections)
            continue
        if above:
            shared = prose(above) if beside else ""
        elif not beside and not code.startswith("#"):
            shared = ""
        doc = prose(beside or above) if beside or above else ""
        inherited = False
        if not doc and code.startswith("#") and before and before.kind == "macro":
            doc, inherited = before.doc, True  # one comment for several
        for item in items_of(expanded(code, macros), doc, line):
            before = item
            item.shared = shared
            item.inherited = inherited
            sections[-1].items.append(item)
    for section in sections:
        join(section, [item for one in sections for item in one.items])
        section.items = [item for item in section.items if not item.name.endswith("_")]
    return [s for s in sections if s.items or s.doc]


def join(section, everything):
    """A function that takes the call's site, and its macro, become one."""
    functions = {item.name: item for item in everything if item.kind == "function"}
    for macro in [item for item in section.items if item.kind == "macro"]:
        below = functions.get(macro.name + "_at")
        if below and below.name + "(" in macro.result:
            below.at, below.name = below.name, macro.name
            below.parameters = [p for p in below.parameters if p[1] != "site"]
            below.numbers = set(re.findall(r"HT_VAR\((\w+)\)", macro.result))
            named = [p[1] for p in macro.parameters]
            if named and named != ["..."] and len(named) == len(below.parameters):
                renamed = dict(zip((p[1] for p in below.parameters), named))
                below.parameters = [(kind, renamed[name]) for kind, name in below.parameters]
            if macro.doc:
                below.doc += "\n\n" + macro.doc if below.doc else macro.doc
            section.items.remove(macro)


def everything():
    return [section for header in HEADERS for section in read(header)]


def opening(section):
    """The header's title, its name and first clause, and the rest of its first comment."""
    first, _, rest = section.doc.partition("\n\n")
    first = " ".join(first.split("\n"))
    title = re.match(r"(.*?)(\.(?= |$)|, included by| Read next)", first).group(1)
    return title, first[len(title):].lstrip(". ") + "\n\n" + rest


def first_sentence(text):
    """It, without its full stop, and the rest."""
    stop = r"(?<=[\w)\"'`\]])(?<!\bal)\.(?=\s|$)"
    first = re.match(rf"(.+?)(?:{stop}|(?=\n\n|\n  )|\Z)\s?", text, re.S)
    return (first.group(1), text[first.end():]) if first else ("", text)

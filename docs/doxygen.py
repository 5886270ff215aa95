# SPDX-License-Identifier: MIT
"""doxygen.py FOLDER: the headers, chapters and programs as Doxygen takes them, in FOLDER,
which an absolute path names.

The headers' comments are plain: here they get Doxygen's marks, a section becomes a group,
an op and its macro one function, and parameters what words.txt says of their names.
Chapters keep their Markdown; links between files become links between pages. Read next:
headers.py, Doxyfile.
"""
import html
import re
import shutil
import sys
from pathlib import Path

import cheatsheet
import headers
import words

ROOT = headers.ROOT
# Those that are read first, in order; then what other Markdown there is.
CHAPTERS = """README.md tensor/README.md autograd/README.md autograd/ops/README.md
    nn/README.md bilevel/README.md data/README.md examples/README.md
    examples/train/README.md examples/learn/README.md CONTRIBUTING.md
    tests/README.md""".split()
PARTS = "Errors Cost Memory Gradient Source".split()


# What a page can be led to by name; types find theirs by themselves.
NAMES = {item.name for section in headers.everything() for item in section.items
         if item.kind in ("function", "macro", "variable", "callback")}


def linked(text):
    """With every name of the library as a link."""
    return re.sub(r"(?<![\w\"#.])[Hh][Tt]_\w+\b(?!\.h)", lambda name: name.group()
                  if name.group() not in NAMES else f'@ref {name.group()} "{name.group()}"', text)


def identifier(text):
    return re.sub(r"\W+", "_", text).strip("_").lower()


def group_of(section):
    header = Path(headers.file_name(section.header)).stem
    return header if section.title.endswith(".h") else f"{header}_{identifier(section.title)}"


def escaped(text):
    """Prose whose letters mean themselves, but for `code` and *emphasis*."""
    def plain(part):
        part = re.sub(r"([\\@#%])", r"\\\1", html.escape(part, quote=False))
        part = re.sub(r"(?<![\w*])\*(\w|\w[\w\s]*\w)\*(?![\w*])", r"<em>\1</em>", part)
        part = re.sub(r"\*", r"\\*", part)
        return linked(re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", part))
    # In quotation marks Doxygen takes letters as they are, but for tags.
    parts = re.split(r"(`[^`\n]+`|\"[^\"\n]*\")", text)
    return "".join(plain(part) if at % 2 == 0 else html.escape(part, quote=False)
                   if part[0] == '"' else part for at, part in enumerate(parts))


def paragraphs(text):
    """Prose as Doxygen's: what is indented stays as it stands, a list is a list, and a
    sentence that begins with a part's name, "Errors: ", has a heading of its own."""
    out, block, plain = [], [], []

    def close():
        if plain:
            out.append(escaped("\n".join(plain)))
            plain.clear()
        if block:
            code = any(re.search(r"\w\(.*;|;$|\{$", line) for line in block)
            kind = "code{.c}" if code else "verbatim"
            out.extend([f"@{kind}", *block, "@endcode" if code else "@endverbatim"])
            block.clear()
    for line in text.split("\n"):
        if line.startswith("  ") and not (plain and plain[-1].startswith("- ")):
            if plain:
                close()
            block.append(line[2:])
        elif not line and block:
            block.append("")
        else:
            if block:
                close()
            no_list = re.match(r"[+*] |\d+\. ", line)
            plain.append("\u2060" + line if no_list else line)
    close()
    text = "\n".join(out)
    return re.sub(rf"(?:^|(?<=[.;:)]\s))({'|'.join(PARTS)}): ", r"\n@par \1\n", text)


def comment(text):
    return "/**\n" + text.replace("*/", "* /").rstrip() + "\n*/\n"


def described(text):
    """Its first sentence as what lists show, then all the rest."""
    first, rest = headers.first_sentence(text)
    end = "" if first.endswith(":") else "."
    return f"@brief {escaped(' '.join(first.split()))}{end}\n\n{paragraphs(rest)}" if first else ""


def member_text(item, owner):
    text = item.doc + ("\n\n" + item.shared if item.doc and item.shared else "")
    text = text or words.of(owner, "", item.name)
    return described(text) if text else f"@brief See @ref {owner.name}."


def type_text(item):
    out = [comment(described(item.doc or item.shared))]
    keyword = {"struct": "struct", "enum": "enum"}[item.kind]
    out.append(f"{keyword} {item.name} {{\n")
    end = "," if item.kind == "enum" else ";"
    for member in item.members:
        out.append(comment(member_text(member, item)))
        code = re.sub(r"\{.*\}", "", member.code).replace("struct", "").strip() \
            if member.members else member.code
        out.append(f"{code}{end}\n")
    return "".join(out) + "};\n"


def parameter_text(item, kind, name):
    text = words.of(item, kind, name)
    if name in item.numbers:
        text += " A number will do."
    return f"@param {name} {escaped(text)}\n" if text else ""


def function_text(item):
    text = described(item.doc)
    if item.shared:
        text += "\n\n" + paragraphs(item.shared)
    text += "\n\n" + "".join(parameter_text(item, *pair) for pair in item.parameters)
    result = words.result(item)
    text += f"@return {escaped(result)}\n" if result else ""
    if item.at:
        text += f"@note A macro: {item.at} is the function, whose last argument is the " \
                "call's place (#HT_HERE).\n"
    pairs = ", ".join(prototype(*pair) for pair in item.parameters) or "void"
    gap = "" if item.result.endswith("*") else " "
    return comment(text) + f"{item.result}{gap}{item.name}({pairs});\n"


def prototype(kind, name):
    if kind == "...":
        return kind
    array = re.search(r"(\[.*\])$", kind)
    kind = kind[:array.start()] if array else kind
    gap = "" if kind.endswith("*") else " "
    return f"{kind}{gap}{name}{array.group() if array else ''}"


def item_text(item):
    if item.kind == "function":
        return function_text(item)
    if item.kind in ("struct", "enum"):
        return type_text(item)
    text = comment(described(item.doc or item.shared) + "\n\n" +
                   "".join(parameter_text(item, *pair) for pair in item.parameters))
    if item.kind == "macro":
        return f"{text}{item.code}\n"
    code = item.code
    if item.kind == "handle" and not code.startswith("typedef"):
        code = f"typedef struct {item.name} {item.name}"
    return f"{text}{code};\n"


def header_text(header):
    """A file of Doxygen's comments and declarations, by groups."""
    out = ["/** @file */\n"]
    file_group = Path(headers.file_name(header)).stem
    for section in headers.read(header):
        group = group_of(section)
        within = "" if group == file_group else f"@ingroup {file_group}\n"
        doc, title = section.doc, section.title
        if group == file_group:
            title, doc = headers.opening(section)
        about = paragraphs(doc) if doc.strip() else f"What holds for all of it: @ref {file_group}."
        out.append(comment(f"@defgroup {group} {title}\n{within}{about}"))
        out.append(f"/** @addtogroup {group}\n@{{ */\n")
        out += [item_text(item) for item in section.items]
        out.append("/** @} */\n")
    return "".join(out)


# Pages.

def found(*patterns):
    paths = [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in sorted(names) if not re.match(r"build|docs/index|data/full", name)]


class Pages:
    """Chapters, and the programs they lead to; every link ends at a page or at nothing."""

    def __init__(self, folder, pages):
        self.folder, self.html = folder, pages
        self.chapters = [path for path in CHAPTERS if (ROOT / path).is_file()]
        self.chapters += [path for path in found("*.md", "*/*.md", "*/*/*.md")
                          if path not in self.chapters and path != "CHEATSHEET.md"]
        self.sources, self.dead, self.menu = {}, [], {}
        self.lessons = found("examples/learn/*.c")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def chapter_id(self, path):
        return "chapter_" + identifier(path.replace("README.md", "").replace(".md", "")
                                       or "hypertape")

    def target(self, path):
        """The page of a file of the repository, or None."""
        if path in headers.HEADERS:
            return Path(path).stem
        if (ROOT / path).is_dir():
            path = f"{path}/README.md".lstrip("/")
        if path in self.chapters:
            return self.chapter_id(path)
        if path in self.lessons:
            return "lesson_" + identifier(Path(path).stem)
        if (ROOT / path).is_file() and re.search(r"\.(c|h|cpp|py|def|sh|txt|build)$", path):
            self.sources[path] = "source_" + identifier(path)
            return self.sources[path]
        return None

    def link(self, chapter, match):
        bang, text, url = match.groups()
        if re.match(r"\w+:", url):
            return match.group()
        path = (ROOT / chapter).parent / url.split("#")[0]
        if not path.exists():
            self.dead.append(f"{chapter}: a link to {url}, which is not there")
            return text
        path = path.resolve().relative_to(ROOT).as_posix()
        if bang:
            shutil.copy(ROOT / path, self.html)
            alt = text.replace('"', "'")
            return f'<img src="{Path(path).name}" alt="{alt}"/>'
        page = self.target(path)
        return f"[{text}](@ref {page})" if page else text

    def chapter(self, path):
        text = (ROOT / path).read_text()
        title, _, body = text.partition("\n")
        out, fence = [], False
        for line in body.split("\n"):
            fence ^= line.startswith("```")
            if not fence and not line.startswith("    "):
                line = re.sub(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^) ]+)\)",
                              lambda match: self.link(path, match), line)
                line = re.sub(r"(?<!\()@(?!ref)", r"\\@", line)
                line = re.sub(r"(?<!\[)`(\w+)`", lambda code: code.group() if code.group(1)
                              not in NAMES else f"<code>{linked(code.group(1))}</code>", line)
            out.append(line)
        title = title.lstrip("# ").strip()
        self.write(self.chapter_id(path) + ".md",
                   f"# {title} {{#{self.chapter_id(path)}}}\n" + "\n".join(out))
        return title

    def listing(self, path, page, title, intro=""):
        """The file as it is, its names linked, below what introduces it."""
        self.write(page + ".md", f"# {title} {{#{page}}}\n\n{intro}\n\n`{path}`\n\n"
                   f"@include{{lineno}} {path}\n")

    def lesson(self, path):
        """The program's first comment as prose, the rest of it, and what it prints."""
        stem = Path(path).stem
        text = (ROOT / path).read_text()
        first = re.search(r"/\* (\S+\.c): (.*?)\*/\n", text, re.S)
        title, prose = re.match(r"(.*?)[.?!](?=\s|$)(.*)",
                                headers.prose("/* " + first.group(2) + "*/"), re.S).groups()
        number = re.match(r"(\d+)_", stem)
        name = f"Lesson {int(number.group(1))}: " if number else f"{stem}.c: "
        title = name + escaped(" ".join(title.split()))
        out = [paragraphs(prose.strip()), f"`{path}`{self.viewer(stem)}",
               f"```c\n{text[first.end():].strip()}\n```"]
        if number:
            out += self.beside(number.group(1))
        page = "lesson_" + identifier(stem)
        self.write(page + ".md", f"# {title} {{#{page}}}\n\n" + "\n\n".join(out) + "\n")
        return page, title

    def viewer(self, stem):
        """A link to the page that the program wrote, if it did."""
        page = self.folder.parent / f"viewer/{stem}.html"
        if not page.is_file():
            return ""
        shutil.copy(page, self.html / f"viewer_{stem}.html")
        return f'; <a href="viewer_{stem}.html">what it records, to step through</a>'

    def beside(self, number):
        """What goes with a lesson, as far as it is there."""
        learn = ROOT / "examples/learn"
        expected = learn / f"expected/{number}.txt"
        if expected.is_file():
            yield f"It prints:\n\n```\n{expected.read_text().rstrip()}\n```"
        exercise = f"examples/learn/exercises/{number}.c"
        if (ROOT / exercise).is_file():
            yield f"The [exercise](@ref {self.target(exercise)}) is done and marked by " \
                f"`./dev learn {int(number)}`."

    def cheatsheet(self):
        """CHEATSHEET.md, its names linked."""
        def link(_, text):
            return f"<code>{escaped(text)}</code>"

        def plain(text):
            return escaped(text).replace("|", "\\|")
        title, _, body = cheatsheet.sheet(link, plain).partition("\n")
        self.write("cheatsheet.md", f"{title} {{#cheatsheet}}\n{body}")

    def list(self, page, title, pages, intro=""):
        """A page of pages (id, title), and its place in the menu."""
        self.write(page + ".md", f"# {title} {{#{page}}}\n\n{intro}\n\n" +
                   "\n".join(f"- @subpage {one}" for one, _ in pages) + "\n")
        self.menu[page] = f'<tab type="usergroup" visible="yes" url="@ref {page}" ' \
            f'title="{title}">' + "".join(
                f'<tab type="user" visible="yes" url="@ref {one}" title="{quoted(name)}"/>'
                for one, name in pages) + "</tab>"

    def all(self):
        self.cheatsheet()
        chapters = [(self.chapter_id(path), self.chapter(path)) for path in self.chapters]
        self.list("chapters", "Chapters", chapters)
        course = self.target("examples/learn/README.md")
        self.list("lessons", "Lessons", [self.lesson(path) for path in self.lessons],
                  "Each is one program of a page or two, its mathematics first. `./dev learn N` "
                  "sets the exercise of lesson N and marks it" +
                  (f"; [the course](@ref {course})." if course else "."))
        for path, page in self.sources.items():
            self.listing(path, page, path)
        self.list("programs", "Programs", [(page, path) for path, page
                                           in sorted(self.sources.items())])

    def layout(self):
        return re.sub(r"<!-- (\w+) -->", lambda place: self.menu[place.group(1)],
                      (ROOT / "docs/layout.xml").read_text())


def quoted(text):
    return html.escape(text.replace("\\", ""), quote=False).replace('"', "&quot;")


def main(folder):
    folder = Path(folder)
    source, shown = folder / "input", folder / "html"
    for part in (source, shown):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    for header in headers.HEADERS:
        (source / headers.file_name(header)).write_text(header_text(header))
    pages = Pages(source, shown)
    pages.all()
    if pages.dead:
        sys.exit("\n".join(pages.dead))
    shutil.copy(ROOT / "docs/index.md", source)
    order = [source / headers.file_name(header) for header in headers.HEADERS]
    text = sorted(path for path in source.iterdir() if path.suffix == ".md")
    (folder / "layout.xml").write_text(pages.layout())
    (folder / "Doxyfile").write_text(
        (ROOT / "docs/Doxyfile").read_text() + f"OUTPUT_DIRECTORY = {folder}\n"
        f"EXAMPLE_PATH = {ROOT}\nLAYOUT_FILE = {folder / 'layout.xml'}\n"
        "INPUT = " + " ".join(f'"{path}"' for path in order + text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

#!/bin/sh
# SPDX-License-Identifier: MIT
# test_docs_pages.sh: the pages of ./dev docs, in TAP: no link of theirs is dead, every public
# function is on one and in the search, and in headless Chromium nothing is on the console, a
# phone need not scroll sideways, dark is dark, and the search finds.
# Usage: test_docs_pages.sh <repository>
set -u
root=$1 n=0 failed=0
export PYTHONDONTWRITEBYTECODE=1
if ! command -v doxygen >/dev/null; then
    echo '1..0 # SKIP Doxygen is not installed (Debian: apt-get install doxygen)'
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

verdict() { # <case> <complaints, empty if none>
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - docs_$1"
    else
        failed=1
        echo "not ok $n - docs_$1"
        printf '%s\n' "$2" | head -n 20 | sed 's/^/# /'
    fi
}

verdict are_made_without_a_warning "$(
    python3 "$root/docs/doxygen.py" "$work" 2>&1 &&
        cd "$root" && doxygen "$work/Doxyfile" 2>&1 &&
        cat docs/style.css >>"$work/html/search/search.css"
)"

cat >"$work/links.py" <<'END'
import re, sys
from pathlib import Path
pages = {path.name: path.read_text(errors="replace") for path in Path(".").glob("*.html")}
places = {name: set(re.findall(r'(?:id|name)="([^"]+)"', text)) for name, text in pages.items()}
for name, text in sorted(pages.items()):
    for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
        page, _, place = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        if page and not Path(page).exists() or place and place not in places[page or name]:
            print(f"{name}: {link} leads nowhere")
if len(pages) < 100:
    print(f"{len(pages)} pages, at least 100 expected")
END
verdict have_no_dead_link "$(cd "$work/html" && python3 "$work/links.py" 2>&1)"

cat >"$work/names.py" <<'END'
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1] + "/docs")
import headers
found = "".join(path.read_text() for path in Path("search").glob("all_*.js"))
for section in headers.everything():
    for item in section.items:
        if item.name and f"'{item.name}'" not in found:
            print(f"the search does not know {item.name}")
END
verdict search_knows_every_name "$(cd "$work/html" && python3 "$work/names.py" "$root" 2>&1)"

browser=
for name in chromium chromium-browser google-chrome; do
    command -v $name >/dev/null && browser=$name && break
done
if [ -z "$browser" ]; then
    echo "ok $((n + 1)) - docs_in_a_browser # SKIP Chromium is not installed"
    echo "1..$((n + 1))"
    exit $failed
fi

# Pages one after another in a frame as wide as a phone; then the search, asked for a name.
cat >"$work/html/frame.html" <<'END'
<!doctype html><style>body{margin:0}</style>
<iframe id="f" width="390" height="800"></iframe>
<script>
const pages = ['index', 'lessons', 'chapter_hypertape', 'chapter_bilevel', 'cheatsheet', 'modules',
    'group__ht__ops__ops__elementwise', 'group__ht__autograd__derivatives',
    'structht__bilevel__options']
const frame = document.getElementById('f')
const wait = (t) => new Promise((done) => setTimeout(done, t))
const load = (page) => new Promise((done) => {
    frame.onload = () => setTimeout(done, 100)
    frame.src = page + '.html'
})
async function all() {
    const said = []
    for (const page of pages) {
        await load(page)
        const shown = frame.contentDocument
        const text = shown.querySelector('.contents').innerText.length
        if (shown.documentElement.scrollWidth > 390)
            said.push(`${page} is ${shown.documentElement.scrollWidth} wide`)
        if (text < 200) said.push(`${page} has ${text} letters`)
    }
    const page = frame.contentWindow, field = page.document.getElementById('MSearchField')
    field.value = 'ht_conv2d'
    page.searchBox.OnSearchFieldFocus(true)
    page.searchBox.Search()
    await wait(1500)
    const results = page.document.getElementById('MSearchResults')
    const entries = [...(results.contentDocument ?? page.document).querySelectorAll('.SRResult')]
    const hits = entries.filter((x) => x.style.display == 'block').map((x) => x.innerText.trim())
    if (!hits[0]?.startsWith('ht_conv2d'))
        said.push('the search for ht_conv2d found ' + hits.join(', '))
    said.push('background ' + page.getComputedStyle(page.document.body).backgroundColor)
    document.body.innerHTML = '<pre>\n' + said.join('\n') + '\n</pre>'
}
all()
</script>
END
browse() { # <flags>: complaints and the background
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --allow-file-access-from-files \
        --user-data-dir="$work/profile" --enable-logging=stderr --virtual-time-budget=30000 \
        --window-size=600,900 --dump-dom "$@" "file://$work/html/frame.html" 2>"$work/log" |
        sed -n '/<pre>/,/<\/pre>/p' | sed '/pre>/d'
    grep CONSOLE "$work/log"
}
light=$(browse --blink-settings=preferredColorScheme=1)
dark=$(browse --blink-settings=preferredColorScheme=0)
verdict fit_a_phone_and_the_search_finds "$(
    printf '%s\n' "$light" | grep -v '^background'
    [ -n "$light" ] || cat "$work/log"
)"
verdict are_light_or_dark_as_asked "$(
    case $light in *'background rgb(255, 255, 255)'*) ;; *) echo "light: $light" ;; esac
    case $dark in *'background rgb(20, 24, 31)'*) ;; *) echo "dark: $dark" ;; esac
)"
echo "1..$n"
exit $failed

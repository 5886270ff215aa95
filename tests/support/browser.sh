# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034 # n and failed are the caller's
# browser.sh: what tests of pages share: a page in headless Chromium, its console, and
# verdicts in TAP. Sourced; without Chromium the test that does so is skipped.
n=0 failed=0
browser=
for name in chromium chromium-browser google-chrome; do
    command -v $name >/dev/null && browser=$name && break
done
if [ -z "$browser" ]; then
    echo '1..0 # SKIP Chromium is not installed (Debian: apt-get install chromium)'
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        failed=1
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

differs() { # <what> <expected> <got>
    [ "$2" = "$3" ] || echo "$1: expected $2, got $3"
}

within() { # <what> <least> <most> <got>
    awk -v got="$4" "BEGIN { exit !(got != \"\" && got + 0 >= $2 && got + 0 <= $3) }" ||
        echo "$1: expected $2 to $3, got $4"
}

# browse <flags>: what it prints in $work/dom, what it logs in $work/log
browse() {
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars \
        --user-data-dir="$work/profile" --allow-file-access-from-files \
        --enable-logging=stderr "$@" >"$work/dom" 2>"$work/log"
    grep 'CONSOLE' "$work/log"
}

# A page around the page: a window cannot be as narrow as a phone, a frame can.
frame() { # <page> <width> <height> <script>
    cat >"$work/frame.html" <<END
<!doctype html><html style="color-scheme:light dark"><style>body{margin:0}
iframe{border:0;display:block}</style><iframe id="f" src="$1" width="$2" height="$3"
onload="$4"></iframe></html>
END
}

#!/bin/sh
# SPDX-License-Identifier: MIT
# bundle.sh: makes bundled/mnist, byte for byte, out of the full set.
#
# usage: data/bundle.sh [folder of the full set] [folder to write]
#
# The first 10,000 train images (of 60,000), so that anyone can check them with a hex dump, and
# all 10,000 test images. Read next: bundled/mnist/PROVENANCE.md, fetch.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
full=${1:-$here/full/mnist}
out=${2:-$here/bundled/mnist}

# content <name>: the file's bytes, whether it is plain or .gz
content() {
    if [ -f "$full/$1" ]; then cat "$full/$1"; else gzip -dc "$full/$1.gz"; fi
}

# first <name> <header, as printf escapes> <its bytes> <bytes of data>
first() {
    {
        # shellcheck disable=SC2059 # the header is the format
        printf "$2"
        content "$1" | tail -c "+$(($3 + 1))" | head -c "$4"
    } | gzip -9n >"$out/$1.gz"
}

[ -f "$full/train-images-idx3-ubyte" ] || [ -f "$full/train-images-idx3-ubyte.gz" ] || {
    echo "$full: no train-images-idx3-ubyte[.gz]; ./dev data mnist fetches it" >&2
    exit 1
}
mkdir -p "$out"
# 10,000 is octal 000 000 047 020; 28 is octal 034.
first train-images-idx3-ubyte '\000\000\010\003\000\000\047\020\000\000\000\034\000\000\000\034' \
    16 7840000
first train-labels-idx1-ubyte '\000\000\010\001\000\000\047\020' 8 10000
for name in t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    content "$name" | gzip -9n >"$out/$name.gz"
done
[ -f "$out/PROVENANCE.md" ] || cp "$here/bundled/mnist/PROVENANCE.md" "$out"
cd "$out"
sha256sum PROVENANCE.md ./*.gz | sed 's|\./||' >SHA256SUMS

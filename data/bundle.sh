#!/bin/sh
# SPDX-License-Identifier: MIT
# bundle.sh: makes bundled/mnist or bundled/cifar, byte for byte, out of the full set.
#
# usage: data/bundle.sh mnist|cifar [folder of the full set] [folder to write]
#
# mnist: the first 10,000 train images (of 60,000), so that anyone can check them with a hex
# dump, and all 10,000 test images.
# cifar: 4,000 train images (of 50,000) and 1,000 test images (of 10,000): of each of the 10
# classes the first 400 and the first 100, in the set's order, by
# examples/data/cut_cifar.c. The bytes of
# the PNGs depend on the release of zlib; what they hold does not.
# Read next: bundled/*/PROVENANCE.md, fetch.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
set_name=${1-}
full=${2:-$here/full/$set_name}
out=${3:-$here/bundled/$set_name}

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

# need <name>...: one of them is in the full set
need() {
    for name in "$@"; do [ ! -f "$full/$name" ] || return 0; done
    echo "$full: no $1; ./dev data $set_name fetches it" >&2
    exit 1
}

bundle_mnist() {
    need train-images-idx3-ubyte train-images-idx3-ubyte.gz
    # 10,000 is octal 000 000 047 020; 28 is octal 034.
    first train-images-idx3-ubyte \
        '\000\000\010\003\000\000\047\020\000\000\000\034\000\000\000\034' 16 7840000
    first train-labels-idx1-ubyte '\000\000\010\001\000\000\047\020' 8 10000
    for name in t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
        content "$name" | gzip -9n >"$out/$name.gz"
    done
}

bundle_cifar() {
    need train_lables.json
    build=$here/../build/bundle
    [ -f "$build/build.ninja" ] ||
        meson setup "$build" "$here/.." -Dtests=false >/dev/null
    ninja -C "$build" examples/cut_cifar >/dev/null
    "$build/examples/cut_cifar" "$full" "$out" 4000 1000
}

case $set_name in
mnist) files='*.gz' ;;
cifar) files='*.png *.json' ;;
*)
    echo 'usage: data/bundle.sh mnist|cifar [folder of the full set] [folder to write]' >&2
    exit 2
    ;;
esac
mkdir -p "$out"
"bundle_$set_name"
[ -f "$out/PROVENANCE.md" ] || cp "$here/bundled/$set_name/PROVENANCE.md" "$out"
cd "$out"
# shellcheck disable=SC2086 # patterns
sha256sum PROVENANCE.md $files >SHA256SUMS

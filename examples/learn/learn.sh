#!/bin/sh
# SPDX-License-Identifier: MIT
# learn.sh: the course. Copies an exercise, builds it beside its check, marks it.
# Usage: learn.sh <repository> <folder of the built library> [arguments of ./dev learn]
set -eu
root=$1 out=$2
shift 2
learn=$root/examples/learn
remembered=$out/learn-folder

usage() {
    cat <<'EOF'
usage: ./dev learn                    the lessons, and how far you are
       ./dev learn N --lesson [--html FILE]
                                      run lesson N; write a page that shows its tape
       ./dev learn N [DIR] [--hint [HOLE]]
                                      exercise N: copied to DIR if it is not there (the last
                                      DIR if none is named; ./learn at first), built, marked;
                                      with --hint one hint more, for HOLE or for the first
                                      that is not right
       ./dev learn --figures DIR      the drawings of the course, for slides, computed anew
       ./dev learn --report DIR       every folder in DIR marked: a CSV, a row a learner
                                      and exercise
EOF
}

refuse() {
    printf 'dev: learn: %s\n' "$*" >&2
    exit 2
}

# "<NN> <lesson's file>", one a line.
lessons() {
    for file in "$learn"/[0-9][0-9]_*.c; do
        name=${file##*/}
        echo "${name%%_*} $file"
    done
}

title() { # <lesson's file>: what its first comment says after its name
    sed -n "2s|^/\* ${1##*/}: \(.*\)|\1|p" "$1" | sed 's| \*/$||; s|\.$||'
}

number() { # two digits of what was typed, if there is such a lesson
    case $1 in
    *[!0-9]* | '') refuse "expected the number of a lesson, got '$1' (./dev learn lists them)" ;;
    esac
    two=$(echo "$1" | sed 's/^0*//; s/^.$/0&/')
    lessons | grep -q "^$two " || refuse "there is no lesson $1 (./dev learn lists them)"
    echo "$two"
}

# Prints the program that marks <file> as exercise <NN>, built into <folder>.
# shellcheck disable=SC2086 # flags are a list
build_exercise() {
    case $("${CC:-gcc}" --version) in # one does not know the other's warnings
    *clang*) quiet='' ;;
    *) quiet=-Wno-maybe-uninitialized ;;
    esac
    "${CC:-gcc}" -std=c11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Wno-switch \
        -Wno-missing-field-initializers -D_DEFAULT_SOURCE $quiet \
        ${LEARN_FLAGS-} "-DEXERCISE=\"$2\"" \
        -I"$learn/exercises" -I"$learn" -I"$root" -I"$root/tensor" -I"$root/autograd" \
        -I"$root/nn" -I"$root/bilevel" -I"$root/data" -I"$out/tensor" \
        "$learn/exercises/check/$1.c" "$learn/exercises/mark.c" -o "$3/mark-$1" \
        -L"$out" -lhypertape "-Wl,-rpath,$out" -lm && echo "$3/mark-$1"
}

mark() { # <NN> <folder, from the root> <file of marks; none if empty> [flags of the marker]
    nn=$1 folder=$2 marks=$3
    shift 3
    work=$(mktemp -d)
    status=0
    if program=$(build_exercise "$nn" "$folder/$nn.c" "$work"); then
        "$program" ${marks:+--marks "$marks"} "$@" || status=$?
    else
        echo "$nn.c does not compile: its errors are above. The program's main is the" \
            "marker's, and names and types of the functions stay as they were"
        status=1
    fi
    rm -rf "$work"
    return "$status"
}

progress() {
    folder=$(cat "$remembered" 2>/dev/null || true)
    lessons | while read -r two file; do
        exercise=$learn/exercises/$two.c
        holes=0 right=0
        [ ! -f "$exercise" ] || holes=$(grep -c 'UNWRITTEN;' "$exercise")
        [ -z "$folder" ] || [ ! -f "$folder/marks.csv" ] ||
            right=$(grep -c "^$((1$two - 100)),[^,]*,1," "$folder/marks.csv" || true)
        [ "$right" -le "$holes" ] || right=$holes
        printf '%s  %s of %s  %s\n' "$two" "$right" "$holes" "$(title "$file")"
    done
    if [ -n "$folder" ] && [ ! -d "$folder" ]; then
        echo "yours were in $folder, which is not there any more"
    elif [ -n "$folder" ]; then echo "yours are in $folder"; else
        echo 'begin: ./dev learn 1 --lesson, then ./dev learn 1'
    fi
}

report() { # <folder of folders>
    [ -d "$1" ] || refuse "--report: expected a folder with a folder for each learner, got '$1'"
    echo 'learner,exercise,right,holes,hints,first_wrong'
    for student in "$(cd "$1" && pwd)"/*/; do
        student=${student%/}
        for file in "$student"/[0-9][0-9].c; do
            [ -f "$file" ] || continue
            nn=${file##*/} nn=${nn%.c}
            [ -f "$learn/exercises/$nn.c" ] || continue
            copy=$(mktemp -d)
            cat "$file" >"$copy/$nn.c"
            said=$(mark "$nn" "$copy" "" --quiet 2>/dev/null || true)
            rm -rf "$copy"
            holes=$(grep -c 'UNWRITTEN;' "$learn/exercises/$nn.c")
            right=$(printf '%s\n' "$said" | grep -c '^  right ' || true)
            wrong=$(printf '%s\n' "$said" | sed -n 's/^  \(wrong\|open \) //p' | head -n 1 | tr '"' "'")
            case $said in *'does not compile'*) wrong='does not compile' ;; esac
            hints=$(awk -F, -v n="$((1$nn - 100))" '$1 == n && $4 > 0 { s += $4 } END { print s + 0 }' \
                "$student/marks.csv" 2>/dev/null || echo 0)
            printf '"%s",%s,%s,%s,%s,"%s"\n' "$(echo "${student##*/}" | sed 's/"/""/g')" "$nn" "$right" "$holes" \
                "$hints" "$wrong"
        done
    done
}

lesson() { # <NN> [--html FILE]
    nn=$1
    shift
    file=$(lessons | sed -n "s/^$nn //p")
    name=${file##*/}
    exec "$out/examples/${name%.c}" "$@"
}

exercise() { # <NN> [DIR] [--hint]
    nn=$1 folder='' hint=''
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --hint)
            hint=first
            case ${2-} in
            '' | -* | */*) ;;
            *)
                hint=$2
                shift
                ;;
            esac
            ;;
        --html | --lesson) refuse "usage: ./dev learn $nn --lesson [--html FILE]" ;;
        -*) refuse "no flag is called '$1' (./dev learn --help)" ;;
        *[!0-9]*)
            [ -z "$folder" ] || refuse "two folders are named, '$folder' and '$1'"
            folder=$1
            ;;
        *) refuse "expected a folder, got '$1' (if it is one: ./$1)" ;;
        esac
        shift
    done
    [ -f "$learn/exercises/$nn.c" ] || refuse "lesson $nn has no exercise"
    [ -n "$folder" ] || folder=$(cat "$remembered" 2>/dev/null || echo learn)
    case $folder in
    *[\"\\]*) refuse "a folder with a quotation mark or a backslash in its name, $folder, is not one a compiler takes" ;;
    esac
    mkdir -p "$folder" || refuse "$folder is not a folder that can be made"
    folder=$(cd "$folder" && pwd)
    printf '%s\n' "$folder" >"$remembered"
    if [ ! -f "$folder/$nn.c" ]; then
        cat "$learn/exercises/$nn.c" >"$folder/$nn.c"
        echo "$folder/$nn.c is yours to fill; then again: ./dev learn $nn"
    fi
    [ ! -f "$folder/$nn.c" ] || [ -r "$folder/$nn.c" ] || refuse "$folder/$nn.c cannot be read"
    case $hint in
    '') mark "$nn" "$folder" "$folder/marks.csv" ;;
    first) mark "$nn" "$folder" "$folder/marks.csv" --hint ;;
    *) mark "$nn" "$folder" "$folder/marks.csv" --hint "$hint" ;;
    esac
}

case ${1-} in
'') progress ;;
-h | --help) usage ;;
--report)
    [ $# = 2 ] || refuse 'usage: ./dev learn --report DIR'
    report "$2"
    ;;
--figures)
    [ $# = 2 ] || refuse 'usage: ./dev learn --figures DIR'
    exec "$out/examples/figures" "$2"
    ;;
--build) # <NN> <file> <folder>: for the tests
    build_exercise "$2" "$3" "$4"
    ;;
--lesson | --hint | --html) refuse "the lesson's number comes first: ./dev learn N $1" ;;
-*) refuse "no flag is called '$1' (./dev learn --help)" ;;
*)
    nn=$(number "$1")
    shift
    if [ "${1-}" = --lesson ]; then
        shift
        lesson "$nn" "$@"
    fi
    exercise "$nn" "$@"
    ;;
esac

#!/bin/bash
# make install into a folder of its own, and a program of somebody else's (samples/embed.c) that is
# built against what lies there, with the shared and with the static library.
#
#   tests/test_install.sh            needs nothing built; CC=clang or make's own settings choose how

set -u
export LC_ALL=C
unset PARE_CPU
cd "$(dirname "$0")/.." || exit 1
case ${PARE_BIN-} in
    *-address* | *-undefined* | *-thread*)
        echo "a library with sanitizers is not what anybody installs"
        exit 77
        ;;
esac
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
root=$dir/x
passed=0 failed=0

check() { # what, command...
    local what=$1
    shift
    if "$@" >"$dir/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $what"
        sed 's/^/    /' "$dir/log" | tail -n 20
    fi
}

make_in() { # target: MAKEFLAGS, if make runs this, holds the settings that it was given
    make --no-print-directory DESTDIR="$root" PREFIX=/usr "$1"
}

finish() {
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
    exit
}

check "make install" make_in install
[ $failed = 0 ] || finish
installed=$(cd "$root" && find . ! -type d | sort)
for file in usr/bin/pare-run usr/include/pare.h usr/lib/libpare.a usr/lib/libpare.so \
    usr/lib/libpare.so.0 usr/lib/pkgconfig/pare.pc usr/share/man/man1/pare-run.1; do
    check "$file" test -s "$root/$file"
done

# ---- The header and the libraries say the same --------------------------------------------------

cc=${CC:-$(command -v gcc || echo cc)}
strict="-Wall -Wextra -Wshadow -Wconversion -pedantic -Werror"
header=$root/usr/include/pare.h
# shellcheck disable=SC2086 # flags are meant to be split
{
    check "the header is C11" $cc -std=c11 $strict -x c -fsyntax-only "$header"
    if echo 'int x;' | $cc -x c++ -fsyntax-only - 2>/dev/null; then
        check "the header is C++" $cc -std=c++11 $strict -x c++ -fsyntax-only "$header"
    fi
}

# Without comments, and by another way than the Makefile's.
declared() {
    $cc -E -P "$header" | tr '\n' ' ' | tr ';{}' '\n' | grep -o '\<pare_[a-z0-9_]* *(' |
        tr -d ' (' | sort -u
}
exported() { nm -D --defined-only "$root/usr/lib/libpare.so" | awk '{ print $3 }' | sort; }
same_symbols() {
    declared >"$dir/declared"
    exported >"$dir/exported"
    grep -qx pare_classify "$dir/declared" && diff "$dir/declared" "$dir/exported"
}
only_our_names() {
    nm -g --defined-only "$root/usr/lib/libpare.a" | awk 'NF == 3 { print $3 }' >"$dir/a"
    grep -q '^pare_open$' "$dir/a" && ! grep -v -i '^pare_' "$dir/a"
}
if command -v nm >/dev/null; then
    check "libpare.so exports what the header declares" same_symbols
    check "libpare.a defines pare_ and PARE_ only" only_our_names
fi

# ---- A program that uses them -------------------------------------------------------------------

PKG_CONFIG_PATH=$root/usr/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
ask() { "${PKG_CONFIG:-pkg-config}" --define-prefix "$@" pare; }

build_shared() {
    # shellcheck disable=SC2046,SC2086
    $cc -std=c11 $strict -o "$dir/embed" samples/embed.c $(ask --cflags --libs)
}
build_static() { # the linker prefers a shared library where both lie side by side
    rm -rf "$dir/static" && mkdir "$dir/static" && cp "$root/usr/lib/libpare.a" "$dir/static"
    # shellcheck disable=SC2046,SC2086
    $cc -std=c11 $strict -o "$dir/embed-static" samples/embed.c -L"$dir/static" \
        $(ask --cflags) $(ask --static --libs)
}
needed() { # program, how often
    readelf -d "$dir/$1" >"$dir/dynamic" &&
        [ "$(grep -c 'NEEDED.*libpare\.so\.0' "$dir/dynamic")" = "$2" ]
}

version=$(sed -n 's/^#define PARE_VERSION "\(.*\)"/\1/p' core/version.h)
check "pkg-config knows the version" [ "$(ask --modversion)" = "$version" ]
check "embed.c builds" build_shared
check "embed.c builds with the static library" build_static
check "the first one needs libpare.so.0" needed embed 1
check "the second one does not" needed embed-static 0

PATH=$root/usr/bin:$PATH
int8=$dir/command-intent.int8.pare
check "pare-convert" pare-convert samples/command-intent -o "$dir/f32.pare"
check "pare-quantize" pare-quantize "$dir/f32.pare" -o "$int8" --to int8

printf '%s\n' 'turn off the lights' 'wake me at seven' 'will it rain on sunday' >"$dir/lines"
expected='control_lights   0.9966  turn off the lights
set_alarm        0.9961  wake me at seven
get_weather      0.9982  will it rain on sunday'
run() { LD_LIBRARY_PATH=$root/usr/lib "$@" <"$dir/lines"; }
answers() { run "$dir/$1" "$int8" | diff - <(echo "$expected"); }
check "embed answers" answers embed
check "embed-static answers" answers embed-static
same_as_program() {
    diff <(run "$dir/embed" "$int8" | awk '{ print $1 }') \
        <(run pare-run classify "$int8" | cut -f1)
}
check "as pare-run does" same_as_program
refuses() { # part of the message, file
    run "$dir/embed" "$2" >"$dir/out" 2>"$dir/err"
    [ $? = 1 ] && [ ! -s "$dir/out" ] && grep -F "$1" "$dir/err"
}
check "a missing file is named" refuses no-such.pare "$dir/no-such.pare"
check "a file of another kind is refused" refuses embed.c samples/embed.c

# What docs/embedding.md shows is this program and this output.
shows() {
    python3 - "$@" <<'END'
import sys
page = open("docs/embedding.md", encoding="utf-8").read()
code, output = open("samples/embed.c", encoding="utf-8").read(), sys.argv[1]
body = code[code.index("#include <pare.h>"):]
missing = [t for t in (body, output) if "".join("    " + l if l.strip() else l
           for l in t.rstrip("\n").splitlines(True)) not in page]
print("docs/embedding.md does not show:\n" + "\n".join(missing))
sys.exit(bool(missing))
END
}
if command -v python3 >/dev/null; then
    check "docs/embedding.md shows it" shows "$expected"
fi

check "make uninstall" make_in uninstall
left=$(cd "$root" && find . ! -type d)
check "uninstall leaves nothing of" test -z "$left"
[ -z "$left" ] || echo "$left of $(echo "$installed" | wc -l)"
finish

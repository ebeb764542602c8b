#!/bin/sh
# Installs what the build and the tests need and this machine lacks.
#
#   tools/setup.sh [GROUP...]      groups: build test lint long mpi; without one: build test lint
#   tools/setup.sh --list          prints the table below
#
# On Debian and its descendants the packages come from apt-get, as root or through sudo; elsewhere
# the missing libraries are listed by name. When nothing is missing this takes milliseconds.

set -u

# The one list: group, Debian package, how its presence is seen, what it is for.
#   cmd:NAME  a program in PATH;  pc:NAME  a library that pkg-config knows;  file:PATH  a file
#   clang:NAME  a part of the run-time library of clang
TABLE='
build gcc                     cmd:gcc                 the C compiler
build libc6-dev               file:/usr/include/stdio.h  the C library (gcc only recommends it)
build make                    cmd:make                the build
build pkg-config              cmd:pkg-config          finds the libraries below
build libzip-dev              pc:libzip               PyTorch checkpoints are zip files
build libcjson-dev            pc:libcjson             config.json, tokenizer.json, metadata
build libopenblas-pthread-dev pc:openblas             F32 matrix products
build libhdf5-dev             pc:hdf5                 TensorFlow and Keras checkpoints
build libutf8proc-dev         pc:libutf8proc          Unicode classes and normal forms
build libpcre2-dev            pc:libpcre2-8           the splitting patterns of byte-level BPE
build libxxhash-dev           pc:libxxhash            checksums of sections and tensors
build nettle-dev              pc:nettle               SHA-256 of inputs and outputs
test  libcmocka-dev           pc:cmocka               unit tests
test  python3                 cmd:python3             the second reader of the file format; lint
lint  python3                 cmd:python3             tools/lint
lint  clang-format            cmd:clang-format        the style
long  clang                   cmd:clang               the second compiler
long  libclang-rt-dev         clang:libclang_rt.fuzzer  fuzzing, the sanitizers of clang
long  valgrind                cmd:valgrind            make test-long
mpi   openmpi-bin             cmd:mpirun              starts several processes of MPI=1
mpi   libopenmpi-dev          pc:ompi-c               make MPI=1
'

present() {
    case $1 in
        cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
        pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
        file:*) [ -e "${1#file:}" ] ;;
        clang:*) # the name comes back as it is where there is no such file
            [ -e "$(clang -print-file-name="${1#clang:}-$(uname -m).a" 2>/dev/null)" ] ;;
    esac
}

case ${1-} in
    --list) printf '%s' "$TABLE" | sed '/^$/d'; exit 0 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
[ $# -gt 0 ] || set -- build test lint
for group; do
    case $group in
        build | test | lint | long | mpi) ;;
        *) echo "setup: unknown group '$group' (build, test, lint, long, mpi)" >&2; exit 2 ;;
    esac
done

# Sets $missing to the packages of the wanted groups that are absent, $names to "package: purpose".
look() {
    missing= names=
    while read -r group package seen purpose; do
        [ -n "$group" ] || continue
        case " $wanted " in *" $group "*) ;; *) continue ;; esac
        case " $missing " in *" $package "*) continue ;; esac
        present "$seen" && continue
        missing="$missing $package"
        names="$names  ${seen#*:}: $purpose
"
    done <<END
$TABLE
END
    missing=${missing# }
}

wanted="$*"
look
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo 'setup: not a Debian system; please install (library or program: purpose)' >&2
    printf '%s' "$names" >&2
    exit 1
fi

install="apt-get install -y --no-install-recommends $missing"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root="sudo"
else
    printf 'setup: these packages are missing; install them as root:\n  apt-get update && %s\n' \
        "$install" >&2
    exit 1
fi

echo "setup: installing $missing"
# shellcheck disable=SC2086 # the lists are meant to be split
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@"; }
lists_present() { ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; }
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
try() { # shellcheck disable=SC2086
    apt install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null
}
if { lists_present && try; } || { apt update >"$log" 2>&1 && try; }; then
    :
else
    cat "$log" >&2
    printf 'setup: apt-get failed; by hand:\n  apt-get update && %s\n' "$install" >&2
    exit 1
fi
look
[ -z "$missing" ] || { printf 'setup: still missing:\n%s' "$names" >&2; exit 1; }

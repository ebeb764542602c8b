# What tests/test_*.sh share, in bash: the programs, an empty folder to work in, and counting.
#
#     . "$(dirname "$0")/harness.sh"
#     begin pare-convert pare-run       skipped unless these were built
#     check "what" command...
#     finish
#
# Behind `begin` the test is in $dir/work, which is gone at the end; $out and $err lie outside.

set -u
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD goldens=$PWD/tests/data/goldens samples=$PWD/samples make=$PWD/tests/bad_input.py
passed=0 failed=0 skipped=0

begin() { # programs
    local program
    bin=$(cd "${PARE_BIN:-build/bin}" 2>/dev/null && pwd) || bin=/nonexistent
    for program; do
        if [ ! -x "$bin/$program" ]; then
            echo "$program was not built"
            exit 77
        fi
    done
    PATH=$bin:$PATH
    dir=$(mktemp -d) || exit 1
    trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
    out=$dir/out err=$dir/err
    mkdir "$dir/work"
    cd "$dir/work" || exit 1
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
    exit
}

result() { # ok or not, what
    if [ "$1" = ok ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $2"
        [ ! -s "$err" ] || sed 's/^/    /' "$err"
    fi
}

skip() { # what, why
    skipped=$((skipped + 1))
    echo "skipped: $1: $2"
}

check() { # what, command...
    local what=$1
    shift
    if "$@"; then result ok; else result not "$what"; fi
}

# ---- What is refused -----------------------------------------------------------------------------

# Names, kinds, links and states of all there is: a file that was written or replaced has another
# time of change. (Reading all of them each time takes minutes.)
everything() {
    find . \( -type d -printf '%p %y\n' -o -printf '%p %y %l %i %s %C@\n' \) | sort
}

# refused CODE PATTERN COMMAND...: that exit code, one line on standard error that begins with the
# program's name and matches the pattern (behind it "Try …" for wrong usage), and nothing changed.
# Variables: input (its standard input), loud (standard output may hold something).
input=/dev/null loud=
refused() {
    local code=$1 pattern=$2 before rc why='' lines=1
    shift 2
    before=$(everything)
    "$@" >"$out" 2>"$err" <"$input"
    rc=$?
    [ "$code" = 2 ] && lines=2
    [ $rc = "$code" ] || why="exit code $rc, expected $code"
    [ "$(wc -l <"$err")" = $lines ] || why="$why; expected $lines line(s) on standard error"
    head -n 1 "$err" | grep -qE -- "^pare-[a-z]+: .*($pattern)" || why="$why; expected: $pattern"
    [ $lines = 1 ] || sed -n 2p "$err" | grep -q "^Try 'pare-" || why="$why; expected: Try"
    [ -n "$loud" ] || [ ! -s "$out" ] || why="$why; printed: $(head -c 100 "$out")"
    [ "$before" = "$(everything)" ] ||
        why="$why; files changed: $(diff <(echo "$before") <(everything) | head -n 3)"
    if [ -z "$why" ]; then result ok; else result not "$* ($why)"; fi
    rm -rf x x.pare
}

works() { # command...
    if "$@" >"$out" 2>"$err" <"$input"; then result ok; else result not "$* (exit code $?)"; fi
}

# Puts a command that runs without root's right to write anywhere into the array `user`; fails where
# that cannot be had.
give_up_rights() { # a folder that cannot be written
    local rights=-dac_override,-dac_read_search
    user=(env)
    [ "$(id -u)" != 0 ] || user=(setpriv --inh-caps=$rights --bounding-set=$rights)
    "${user[@]}" true 2>/dev/null && ! "${user[@]}" touch "$1/x" 2>/dev/null
}

limited() { (ulimit -f 64 && "$@"); } # no file grows beyond 32 kB

interrupted() { # what appears when it is at work, command
    python3 "$make" interrupt "$@" >"$dir/code"
    return "$(cat "$dir/code")"
}

#!/bin/sh
# The end of `make demo`: runs the models that the Makefile has made, and prints what they weigh,
# how well and how fast they do, and a few of their answers. Every figure is measured by this run or
# read from the reports that pare-verify has written.
#
#   demo.sh OUT      the Makefile's folder of results; the programs are found in PATH
#
# ROUNDS=N (3): how often each model runs for its speed; the fastest counts.
# THREADS=N (1): with how many threads. The sample models are so small that one is fast enough.

set -eu
export LC_ALL=C
out=$1
rounds=${ROUNDS:-3}
threads=${THREADS:-1}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# model NAME TYPE: the file; F32 is the one that the others were made from.
model() {
    case $2 in
        f32) echo "$out/$1.pare" ;;
        *) echo "$out/$1.$2.pare" ;;
    esac
}

# report NAME TYPE KEY: one number of a report. Those of F32 are in every report.
report() {
    case $2 in
        f32) type=int8 side=reference ;;
        *) type=$2 side=candidate ;;
    esac
    value=$(sed -n 's/.*"'$side'":{[^}]*"'"$3"'":\([^,}]*\).*/\1/p' "$out/$1.$type.verified")
    [ -n "$value" ] || {
        echo "demo: no $3 of the $side in $out/$1.$type.verified" >&2
        exit 1
    }
    echo "$value"
}

# ---- Speed -------------------------------------------------------------------------------------

# time_once NAME TYPE COMMAND: runs the model over its test data, adds "NAME TYPE nanoseconds".
time_once() {
    begin=$(date +%s%N)
    pare-run "$3" "$(model "$1" "$2")" --input "$out/$1.tsv" --threads "$threads" --quiet \
        --output "$scratch/$1.$2.txt" --force
    end=$(date +%s%N)
    echo "$1 $2 $((end - begin))" >>"$scratch/times"
}

# The types take turns, so that a moment in which the machine is busy does not hit only one.
time_all() { # NAME COMMAND
    round=0
    while [ $round -lt "$rounds" ]; do
        round=$((round + 1))
        for type in f32 fp16 int8; do
            time_once "$1" $type "$2"
        done
    done
}

speed() { # NAME TYPE: inputs a second; the first line of the data holds the names of its columns
    rows=$(($(wc -l <"$out/$1.tsv") - 1))
    awk -v name="$1" -v type="$2" -v rows="$rows" '
        $1 == name && $2 == type && (!best || $3 < best) { best = $3 }
        END { printf "%.1f\n", rows / best * 1e9 }' "$scratch/times"
}

# exact NAME TYPE: percent of the outputs that are the second column of the data, word by word.
exact() {
    tail -n +2 "$out/$1.tsv" | cut -f2 | paste -d '\n' - "$scratch/$1.$2.txt" | awk '
        NR % 2 { wanted = $0; next }
        { n++; right += $0 == wanted }
        END { printf "%.2f\n", 100 * right / n }'
}

# ---- The table ---------------------------------------------------------------------------------

# row NAME TYPE KEY SCALE EXACT: one line; KEY times SCALE is the score. What is printed as a drop
# is the difference of the printed scores. The variables first: a failure in them ends the script.
row() {
    size=$(wc -c <"$(model "$1" "$2")")
    f32_size=$(wc -c <"$(model "$1" f32)")
    score=$(report "$1" "$2" "$3")
    f32_score=$(report "$1" f32 "$3")
    speed=$(speed "$1" "$2")
    f32_speed=$(speed "$1" f32)
    awk -v type="$2" -v size="$size" -v f32_size="$f32_size" -v score="$score" -v scale="$4" \
        -v f32_score="$f32_score" -v exact="$5" -v speed="$speed" -v f32_speed="$f32_speed" 'BEGIN {
            score = sprintf("%.2f", score * scale)
            f32_score = sprintf("%.2f", f32_score * scale)
            drop = type == "f32" ? "-" : sprintf("%.2f", f32_score - score)
            printf "  %-5s %8.0f %7.1f %% %10s %9s %8s %11.0f %7.2f\n", toupper(type), size / 1000,
                100 * size / f32_size, score, exact, drop, speed, speed / f32_speed
        }'
}

heading() { # NAME, WHAT IS THE SCORE, WHAT IS EXACT
    printf '\n%s\n  %-5s %8s %9s %10s %9s %8s %11s %7s\n' "$1" type 'size kB' 'of F32' "$2" "$3" \
        drop inputs/s 'x F32'
}

print_table() {
    heading 'command-intent: what a short command asks for' 'right %' ''
    for type in f32 fp16 int8; do
        row command-intent $type accuracy 100 ''
    done
    heading 'number-words: numbers, dates, times and amounts, in words' BLEU 'exact %'
    for type in f32 fp16 int8; do
        exact=$(exact number-words $type)
        row number-words $type bleu 1 "$exact"
    done
}

# ---- Examples ----------------------------------------------------------------------------------

# answers COMMAND NAME INPUTS WIDTH: what the INT8 model makes of these lines, beside them. The
# first column is WIDTH wide.
answers() {
    printf '\npare-run %s %s.int8.pare\n' "$1" "$2"
    pare-run "$1" "$(model "$2" int8)" --input "$3" --format text --output "$3.out"
    paste -d '\n' "$3" "$3.out" | awk -F '\t' -v line="  %-$4s %-15s %s\n" '
        NR % 2 { input = $0; next }
        { printf line, input, $1, $2 }' | sed 's/ *$//'
}

print_examples() {
    cat >"$scratch/commands" <<'END'
wake me at seven tomorrow
it is dark so could you dim the lamp
text my sister i am running late
how do i get to the airport
will it rain in berlin on sunday
END
    cat >"$scratch/numbers" <<'END'
$1,204.50
3 Mar 2021
7:05 pm
12.5%
69,427
END
    answers classify command-intent "$scratch/commands" 38
    answers generate number-words "$scratch/numbers" 11
}

self_tests() {
    printf '\npare-run --self-test: the same bits here as where the file was made?\n'
    for name in command-intent number-words; do
        for type in fp16 int8; do
            answer=$(pare-run --self-test "$(model $name $type)")
            echo "  $name.$type.pare: $answer"
        done
    done
}

echo
echo "Timing pare-run on $(($(wc -l <"$out/number-words.tsv") - 1)) test rows for each model:" \
    "best of $rounds, threads: $threads."
time_all command-intent classify
time_all number-words generate
print_table
print_examples
self_tests

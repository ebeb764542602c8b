#!/bin/bash
# pare-run from outside: results do not depend on batches, threads or instruction sets; inputs
# stream in constant memory; broken pipes, full disks and Ctrl-C end in one sentence.
#
#   tests/test_run.sh            PARE_BIN=FOLDER says where the programs are (build/bin)

. "$(dirname "$0")/harness.sh" || exit 1
begin pare-run pare-convert pare-quantize
err=err

convert() { # golden: NAME.f32.pare and NAME.int8.pare
    pare-convert --no-tokenizer "$root/tests/data/goldens/$1" -o "$1.f32.pare" &&
        pare-quantize "$1.f32.pare" -o "$1.int8.pare" --to int8 -q
}

sample() { # the same of a sample
    pare-convert "$root/samples/$1" -o "$1.f32.pare" &&
        pare-quantize "$1.f32.pare" -o "$1.int8.pare" --to int8 -q
}

for name in bert-cls bert-token-cls bert-qa bert-model gpt2-lm bart marian t5; do
    check "$name converts" convert $name
done
for name in command-intent number-words; do
    check "$name converts" sample $name
done

# ---- Inputs: 70 lines of many lengths -----------------------------------------------------------

awk 'BEGIN {
    for (i = 0; i < 70; i++) {
        n = 1 + (i * 37) % 29
        ids = types = ""
        for (k = 0; k < n; k++) {
            ids = ids (k ? "," : "") (i * 31 + k * 17) % 96
            types = types (k ? "," : "") (k * 2 >= n - 1)
        }
        ids = "\"input_ids\":[" ids "]"
        printf "{%s,\"token_type_ids\":[%s]}\n", ids, types >"pairs"
        printf "{%s,\"labels\":[%d,%d,%d]}\n", ids, i, 95 - i, (i * 7) % 96 >"labels"
        printf "{%s}\n", ids >"lists"
        printf "%d\t%d\n", i * i * 31, i >"numbers"
    }
}'
words="turn off the lights call anna play jazz in kitchen please what is the weather like today"
awk -v words="$words" 'BEGIN {
    n = split(words, w, " ")
    for (i = 0; i < 70; i++) {
        line = ""
        for (k = 0; k <= i % 13; k++) line = line " " w[1 + (i * 5 + k * 3) % n]
        print line
    }
}' >texts
cut -f1 numbers >sources

# ---- The same bytes at every batch size, thread count and instruction set ------------------------

# same WHAT COMMAND...: what it prints for 70 inputs
same() {
    local what=$1 batch threads cpu
    shift
    pare-run "$@" --batch-size 1 --threads 1 >want 2>err
    check "$what" [ $? = 0 -a -s want ]
    for batch in 7 64; do
        pare-run "$@" --batch-size $batch --threads 1 >got 2>err
        check "$what, batches of $batch" cmp want got
    done
    for threads in 2 3; do
        pare-run "$@" --threads $threads >got 2>err
        check "$what, $threads threads" cmp want got
    done
    for cpu in scalar avx2; do
        [ $cpu = scalar ] || grep -qw $cpu /proc/cpuinfo || continue
        PARE_CPU=$cpu pare-run "$@" >got 2>err
        check "$what, $cpu" cmp want got
    done
}

same "classify" classify bert-cls.int8.pare --ids --input pairs --json
check "one line an input" [ "$(wc -l <want)" = 70 ]
same "classify tokens" classify bert-token-cls.int8.pare --ids --input pairs --json
same "classify spans" classify bert-qa.int8.pare --ids --input pairs --json
same "hidden states" logits bert-model.int8.pare --ids --input pairs --json
same "logits" logits bart.int8.pare --ids --input labels
same "score" score gpt2-lm.int8.pare --ids --input lists --json
same "score of labels" score t5.int8.pare --ids --input labels --json
same "greedy" generate gpt2-lm.int8.pare --ids --input lists --json --max-new-tokens 12
same "beams" generate marian.int8.pare --ids --input lists --json --num-beams 3
same "texts" logits command-intent.int8.pare --input texts
same "translations" generate number-words.int8.pare --input sources --json --num-beams 2
same "score of translations" score number-words.int8.pare --input numbers --columns source,target

# What is decided from F32 scores is the same, too; the scores' last digits belong to BLAS.
for batch in 1 7 64; do
    pare-run classify command-intent.f32.pare --input texts -b $batch | cut -f1 >labels.$batch
    pare-run generate number-words.f32.pare --input sources -b $batch >words.$batch
done
check "F32 labels, batches" cmp labels.1 labels.7
check "F32 labels, batches" cmp labels.1 labels.64
check "F32 translations, batches" cmp words.1 words.7
check "F32 translations, batches" cmp words.1 words.64

# ---- The samples give what the reference gave ----------------------------------------------------

cat >reference.py <<'END'
import json, subprocess, sys
root, model, command, answer = sys.argv[1:]
rows = json.load(open(f"{root}/samples/{model}/sample.json"))["rows"]
text = "\n".join(r.get("sentence", r.get("source")) for r in rows) + "\n"
for precision in ("f32", "int8"):
    out = subprocess.run(["pare-run", command, f"{model}.{precision}.pare", "--json"],
                         input=text, capture_output=True, text=True, check=True).stdout
    got = [json.loads(line) for line in out.splitlines()]
    assert len(got) == len(rows), (len(got), len(rows))
    if command == "classify":
        same = sum(max(range(len(g["scores"])), key=g["scores"].__getitem__) == r["answer"]
                   for g, r in zip(got, rows))
    elif command == "tokenize":
        same = sum(g["ids"] == r["input_ids"] for g, r in zip(got, rows))
    else:
        same = sum(g["text"] == r[answer] for g, r in zip(got, rows))
    print(model, command, precision, same, "of", len(rows))
    if same < len(rows) and (precision == "f32" or command == "tokenize"):
        sys.exit(1)
END
reference() { python3 reference.py "$root" "$@" >out 2>err; }
check "intents" reference command-intent classify -
check "token ids" reference command-intent tokenize -
check "words" reference number-words generate output

# ---- Streaming -----------------------------------------------------------------------------------

# An answer comes as soon as its batch is full, while the input is still open.
mkfifo in out.fifo
pare-run tokenize command-intent.f32.pare --batch-size 1 <in >out.fifo 2>err &
exec 3>in 4<out.fifo
echo 'turn off' >&3
read -r -t 10 answer <&4
check "an answer at once" [ "$answer" = "2 132 131 3" ]
exec 3>&- 4<&-
wait

# Memory does not grow with the input: 400,000 lines need what 20,000 do, give or take 8 MB.
peak() { # lines
    yes 'turn off the lights' | head -n "$1" >many
    ASAN_OPTIONS=quarantine_size_mb=1 \
        pare-run tokenize command-intent.f32.pare --input many >/dev/null 2>err &
    local pid=$! peak=0 now
    while now=$(awk '/^VmHWM/ { print $2 }' /proc/$pid/status 2>/dev/null) && [ -n "$now" ]; do
        peak=$now
    done
    wait $pid
    echo "$peak"
}
if [ -r /proc/self/status ]; then
    small=$(peak 20000) large=$(peak 400000)
    check "constant memory ($small kB, $large kB)" [ "$large" -lt $((small + 8000)) ]
fi
pare-run tokenize command-intent.f32.pare --input many --limit 3 >out 2>err
check "limit" [ "$(wc -l <out)" = 3 ]

# ---- Endings -------------------------------------------------------------------------------------

ends() { # exit code, sentence
    [ "$code" = "$1" ] && [ "$(wc -l <err)" = 1 ] && grep -qF -- "$2" err
}
{
    pare-run tokenize command-intent.f32.pare --input many 2>err
    echo $? >code
} | head -n 1 >out
code=$(cat code)
check "broken pipe" ends 1 "cannot write to standard output: Broken pipe"
pare-run classify command-intent.f32.pare --input texts >/dev/full 2>err
code=$?
check "full disk" ends 1 "cannot write to standard output: No space left on device"
(
    ulimit -f 64 # the system refuses to write more than 64 KiB
    trap '' XFSZ
    pare-run tokenize command-intent.f32.pare --input many --output big 2>err
)
code=$?
check "full disk, file" ends 1 "big: cannot write"
check "no partial file" [ -z "$(find . -name '*big*')" ]

# A signal, as of Ctrl-C, ends the loop with a sentence, and no file appears.
pare-run classify command-intent.f32.pare --input many --output big 2>err &
pid=$!
until [ -n "$(find . -name '*big*')" ] || ! kill -0 $pid; do
    sleep 0.1 # until the loop has begun
done
kill -TERM $pid # a background job of a shell ignores INT
wait $pid
code=$?
check "interrupted" ends 1 "interrupted"
check "no partial file" [ -z "$(find . -name '*big*')" ]

finish

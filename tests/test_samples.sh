#!/bin/sh
# The two trained samples, through the whole pipeline: PyTorch's answers, equal bytes twice, limits
# on the loss, and the same bits with every instruction set, number of threads and batch size.
#
#   tests/test_samples.sh            PARE_BIN=FOLDER says where the programs are (build/bin)
#
# The files are made by samples/Makefile, in a copy, so that it is tested as well.

set -eu
export LC_ALL=C
unset MAKEFLAGS MFLAGS MAKELEVEL PARE_CPU # of the make that runs the tests
cd "$(dirname "$0")/.."
root=$PWD
bin=$(cd "${PARE_BIN:-build/bin}" 2>/dev/null && pwd) || bin=/nonexistent
for program in convert quantize verify run; do
    if [ ! -x "$bin/pare-$program" ]; then
        echo "pare-$program was not built"
        exit 77
    fi
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -R "$root/samples" "$dir/samples"
rm -rf "$dir/samples/out"
cd "$dir/samples"
passed=0 failed=0

check() { # what, command...
    what=$1
    shift
    if "$@" >"$dir/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $what"
        sed 's/^/    /' "$dir/log" | head -n 20
    fi
}

exits() { # code, command...
    expected=$1 code=0
    shift
    "$@" || code=$?
    echo "exit code $code, expected $expected"
    [ "$code" = "$expected" ]
}

make_samples() { make --no-print-directory "BIN=$bin" "$@"; }

# ---- samples/Makefile --------------------------------------------------------------------------

check_make() {
    check "the rules make everything" make_samples
    for name in command-intent number-words; do
        for type in int8 fp16; do
            check "$name.$type.verified" grep -q '"met":true' "out/$name.$type.verified"
        done
    done
    check "nothing is left over" [ -z "$(find out -name "*.tmp" -o -name "*.report")" ]
    check "then nothing is to do" make_samples -q
    touch number-words/vocab.json
    check "a changed checkpoint is converted again" exits 1 make_samples -q out/number-words.pare
    check "the other one is not" make_samples -q out/command-intent.pare
    check "and all is made again" make_samples out/number-words.pare
}

check_rounds() {
    if [ ! -x "$bin/pare-prune" ] || [ ! -x "$bin/pare-distill" ]; then
        return
    fi
    check "prune, distil, and again" make_samples rounds
    check "within the limit" grep -q '"met":true' out/command-intent.healed2.int8.verified
    check "then no round is to do" make_samples -q rounds
    touch out/command-intent.healed1.pare
    check "a round that changed repeats the next" exits 1 make_samples -q \
        out/command-intent.cut2.pare
    check "not the one before" make_samples -q out/command-intent.cut1.pare
}

# ---- PyTorch's answers -------------------------------------------------------------------------

# The first rows of the data as pare sees them: from text, and from PyTorch's own token ids.
run_reference() { # name, command
    "$bin/pare-run" tokenize "out/$1.pare" -i "out/$1.tsv" --limit 20 --json >"out/$1.tokens"
    "$bin/pare-run" "$2" "out/$1.pare" -i "out/$1.tsv" --limit 20 --json >"out/$1.answers"
    "$bin/pare-run" "$2" "out/$1.pare" -i "out/$1.tsv" --json >"out/$1.all"
    python3 - "$1/sample.json" >"out/$1.ids" <<'END'
import json, sys
for row in json.load(open(sys.argv[1]))["rows"]:
    ids = {"input_ids": row["input_ids"]}
    if "output_ids" in row:  # what the decoder had read when it chose each token
        ids["decoder_input_ids"] = row["output_ids"][:-1]
    print(json.dumps(ids))
END
    "$bin/pare-run" logits "out/$1.pare" --ids -i "out/$1.ids" --json >"out/$1.logits"
}

cat >"$dir/compare.py" <<'END'
"""Compares what pare-run printed with sample.json; says the first differences."""
import json, math, sys

name = sys.argv[1]
sample = json.load(open(f"{name}/sample.json"))
rows = sample["rows"]
labels = json.load(open(f"{name}/config.json")).get("id2label")
wrong = []


def lines(what):
    return [json.loads(line) for line in open(f"out/{name}.{what}")]


def same(what, number, got, wanted):
    if got != wanted:
        wrong.append(f"row {number}: {what} {got}, expected {wanted}")


def close(what, number, got, wanted):
    """NaN is never close."""
    far = [(g, w) for g, w in zip(got, wanted) if not abs(g - w) <= 1e-4]
    if len(got) != len(wanted) or far:
        wrong.append(f"row {number}: {what} {far[:3]}, {len(got)} values of {len(wanted)}")


for kind in "tokens", "answers", "logits":
    same(f"number of {kind}", "-", len(lines(kind)), len(rows))
for i, (row, tokens) in enumerate(zip(rows, lines("tokens"))):
    same("ids", i, tokens["ids"], row["input_ids"])
for i, (row, answer, logits) in enumerate(zip(rows, lines("answers"), lines("logits"))):
    logits = logits["logits"]
    if "output_ids" in row:
        same("generated ids", i, answer["ids"], row["output_ids"])
        same("text", i, answer["text"], row["output"])
        chosen = [step[token] for step, token in zip(logits, row["output_ids"][1:])]
        close("chosen logits", i, chosen, row["chosen_logits"])
        if "first_logits" in row:
            close("first logits", i, logits[0], row["first_logits"])
    else:
        same("label", i, answer["label"], labels[str(row["answer"])])
        close("logits", i, logits, row["logits"])

# All test rows: as many right answers as PyTorch gave.
wanted = [line.rstrip("\n").split("\t")[1] for line in open(f"out/{name}.tsv")][1:]
if labels:
    right = [a["label"] == labels[w] for a, w in zip(lines("all"), wanted)]
else:
    right = [a["text"] == w for a, w in zip(lines("all"), wanted)]
share = sample.get("accuracy", sample.get("exact_match"))
if len(right) != len(wanted) or not math.isclose(sum(right) / len(wanted), share):
    wrong.append(f"{sum(right)} of {len(right)} right, expected {share} of {len(wanted)}")
print("\n".join(wrong[:10]))
sys.exit(bool(wrong) or len(rows) < 20)
END

check_reference() { # name, command
    check "$1 runs" run_reference "$1" "$2"
    check "$1 gives what PyTorch gives" python3 "$dir/compare.py" "$1"
}

# ---- Equal bytes, and limits -------------------------------------------------------------------

check_twice() { # name
    mkdir -p twice
    check "$1 converts again" "$bin/pare-convert" "$1" -o "twice/$1.pare"
    check "$1 twice" cmp "twice/$1.pare" "out/$1.pare"
    for type in int8 fp16; do
        file=$1.$type.pare
        check "$file again" "$bin/pare-quantize" "twice/$1.pare" -o "twice/$file" --to $type
        check "$file twice" cmp "twice/$file" "out/$file"
    done
}

# A checkpoint with one tensor set to zero: still a model, no longer a good one.
break_checkpoint() { # from, to
    cp -R "$1" "$2"
    python3 - "$2" <<'END'
import json, os, struct, sys, zipfile
safetensors = os.path.join(sys.argv[1], "model.safetensors")
if os.path.exists(safetensors):
    content = bytearray(open(safetensors, "rb").read())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    begin, end = json.loads(content[8:start])["classifier.weight"]["data_offsets"]
    content[start + begin : start + end] = bytes(end - begin)
    open(safetensors, "wb").write(content)
else:
    path = os.path.join(sys.argv[1], "pytorch_model.bin")
    with zipfile.ZipFile(path) as old:
        entries = [(info.filename, old.read(info)) for info in old.infolist()]
    largest = max(entries, key=lambda entry: len(entry[1]))[0]  # the embedding
    with zipfile.ZipFile(path, "w") as new:
        for name, content in entries:
            new.writestr(name, bytes(len(content)) if name == largest else content)
END
}

verify() { # name, candidate, limit
    "$bin/pare-verify" -r "out/$1.pare" "$2" -d "out/$1.tsv" --limit 200 --max-drop "$3"
}

check_limits() { # name, metric
    check "$1 broken" break_checkpoint "$1" "broken-$1"
    check "$1 broken, converts" "$bin/pare-convert" "broken-$1" -o "broken-$1.pare"
    check "$1 against itself" exits 0 verify "$1" "out/$1.pare" "$2=0"
    check "$1 broken, exceeds" exits 3 verify "$1" "broken-$1.pare" "$2=5"
    check "$1 broken, within" exits 0 verify "$1" "broken-$1.pare" "$2=100"
    check "$1 broken, in INT8" "$bin/pare-quantize" "broken-$1.pare" -o "out/$1.int8.pare" \
        --to int8 --force
    check "the rules refuse broken $1" exits 2 make_samples "out/$1.int8.verified"
    check "broken $1 is not verified" [ ! -e "out/$1.int8.verified" ]
    check "the report says why" grep -q '"met":false' "out/$1.int8.report"
    cp "twice/$1.int8.pare" "out/$1.int8.pare"
}

# ---- The same bits everywhere ------------------------------------------------------------------

# Batches of 64 need more rows than that; beam search and the plain kernels are slower.
rows=70 beam_rows=24

run_bits() { # name, type, what
    file=out/$1.$2.pare
    case $3 in
        logits) set -- logits "$file" -i "out/$1.tsv" --limit $rows ;;
        greedy) set -- generate "$file" -i "out/$1.tsv" --limit $rows --num-beams 1 ;;
        beams) set -- generate "$file" -i "out/$1.tsv" --limit $beam_rows --num-beams 4 ;;
    esac
    "$bin/pare-run" "$@" --json --threads "$threads" --batch-size "$batch"
}

same_bits() { # name, type, what
    run_bits "$@" >bits && [ -s bits ] && cmp bits "bits.$1.$2.$3"
}

each_output() { # command...: with each name, type and what that the models can do
    for type in int8 fp16; do
        "$@" command-intent $type logits
        "$@" number-words $type logits
        "$@" number-words $type greedy
        "$@" number-words $type beams
    done
}

save_bits() { run_bits "$@" >"bits.$1.$2.$3"; }

keep_bits() { check "$1 $2 $3" save_bits "$@"; }

check_bits() { check "$1 $2 $3: ${PARE_CPU-} threads $threads batch $batch" same_bits "$@"; }

# Prints the kernels that this machine and this build can run.
variants() {
    for cpu in scalar avx2 avx512 vnni neon; do
        message=$(PARE_CPU=$cpu "$bin/pare-run" --self-test out/command-intent.int8.pare 2>&1) ||
            case $message in *"cannot run these kernels"*) continue ;; esac
        echo $cpu
    done
}

check_self_tests() {
    for name in command-intent number-words; do
        for type in int8 fp16; do
            check "self-test $name.$type ${PARE_CPU-}" \
                "$bin/pare-run" --self-test "out/$name.$type.pare"
        done
    done
}

# Everything against one thread, one input at a time, and what the machine chooses by itself. The
# plain kernels are a hundred times slower: two of the nine ways, unless there is time.
check_everywhere() {
    threads=1 batch=1
    each_output keep_bits
    variants >kernels
    check "kernels that run here" grep -x scalar kernels
    for PARE_CPU in $(cat kernels); do
        export PARE_CPU
        check_self_tests
        for ways in 1:1 1:7 1:64 2:1 2:7 2:64 3:1 3:7 3:64; do
            threads=${ways%:*} batch=${ways#*:}
            case ${PARE_TEST_LONG-}:$PARE_CPU:$ways in
                :scalar:1:7 | :scalar:3:64) ;;
                :scalar:*) continue ;;
            esac
            each_output check_bits
        done
    done
    unset PARE_CPU
}

# F32 is compared by tolerance between machines, but threads do not change it.
same_f32_bits() { # name
    for threads in 1 3; do
        "$bin/pare-run" logits "out/$1.pare" -i "out/$1.tsv" --limit $rows --json -t $threads \
            >f32.$threads || return
    done
    [ -s f32.1 ] && cmp f32.1 f32.3
}

check_make
check_rounds
check_reference command-intent classify
check_reference number-words generate
for name in command-intent number-words; do
    check_twice $name
done
check_limits command-intent accuracy
check_limits number-words bleu
check_everywhere
for name in command-intent number-words; do
    check "$name F32, threads" same_f32_bits $name
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]

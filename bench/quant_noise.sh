#!/bin/sh
# What quantization noise in training is worth: students of the sample that says numbers, trained
# with shares 0, 0.5 and 1 of their weights as INT8, and what INT8 costs each of them afterwards.
# Three seeds; two minutes on two cores.
set -eu
bin=${PARE_BIN:-build/bin}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make -s -C samples out/make-data
samples/out/make-data words --split train --rows 6000 >"$folder/train.tsv"
samples/out/make-data words --split dev --rows 200 >"$folder/dev.tsv"
samples/out/make-data words --split test --rows 5000 >"$folder/test.tsv"
"$bin/pare-convert" samples/number-words -q -o "$folder/teacher.pare"
for seed in 1 2 3; do
    for share in 0 0.5 1; do
        noise="--quant-noise $share"
        [ "$share" = 0 ] || noise="$noise --quant-activations"
        # shellcheck disable=SC2086 # two words
        "$bin/pare-distill" --method sft --teacher "$folder/teacher.pare" --layers enc=3,dec=1 \
            --data "$folder/train.tsv" --validation "$folder/dev.tsv" --metric loss --lr 2e-3 \
            --seed $seed $noise -q -f -o "$folder/student.pare" >"$folder/out"
        "$bin/pare-quantize" "$folder/student.pare" --to int8 -q -f -o "$folder/int8.pare" \
            >"$folder/out"
        "$bin/pare-verify" -r "$folder/student.pare" "$folder/int8.pare" -d "$folder/test.tsv" -q \
            --json >"$folder/report"
        grep -o '"\(bleu\|perplexity\)":[^,]*' "$folder/report" | cut -d: -f2 | xargs |
            awk -v seed=$seed -v share="$share" '{printf \
                "seed %d, noise %-3s: BLEU %.2f, INT8 %+.2f; perplexity %.4f, INT8 %+.4f %%\n",
                seed, share, $1, $3 - $1, $2, 100 * ($4 / $2 - 1)}'
    done
done

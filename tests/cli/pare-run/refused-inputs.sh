# needs: pare-run
# Inputs that are refused by file and line; results of the lines before are printed.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

for name in bert-cls bert-qa gpt2-lm bart; do
    pare-convert --no-tokenizer "$TESTS/data/goldens/$name" -o f.pare --force
    pare-quantize f.pare -o $name.pare --to int8 -q
done
pare-convert "$TESTS/../samples/number-words" -o m.pare
with() { # model, command, line of ids
    printf '%s\n' "$3" | tee ids
    try pare-run $2 $1.pare --ids --input ids
}
with bert-cls classify '[1, 2'
with bert-cls classify '7'
with bert-cls classify '[1, -2]'
with bert-cls classify '[1, 2.5]'
with bert-cls classify '[]'
with bert-cls classify '[1, 96]'
with bert-cls classify '{"ids": [1]}'
with bert-cls classify '{"input_ids": "1"}'
with bert-cls classify '{"input_ids": [1, 2], "token_type_ids": [0]}'
with bert-cls classify '{"input_ids": [1, 2], "token_type_ids": [0, 2]}'
with bert-cls classify '{"input_ids": [1, 2], "attention_mask": [1]}'
with bert-cls classify '{"input_ids": [1, 2], "attention_mask": [1, 2]}'
with bert-cls classify '{"input_ids": [1, 2], "attention_mask": [0, 0]}'
with bert-cls classify '{"input_ids": [1], "input_ids": [2]}'
with bert-qa classify '[1, 2]'
with gpt2-lm score '{"input_ids": [1, 2], "labels": [1]}'
with gpt2-lm score '{"input_ids": [1, 2], "labels": [1, 96]}'
with gpt2-lm 'generate --max-length 2' '[1, 2]'
with gpt2-lm 'generate --max-new-tokens 64' '[1, 2]'
with bart score '[1, 2]'
with bart score '{"input_ids": [1], "labels": [1, 2], "decoder_input_ids": [1]}'
with bart score '{"input_ids": [1], "labels": []}'
with bart 'score --pad-token-id none' '{"input_ids": [1], "labels": [-100, 2]}'
with bart logits '[1, 2]'
printf '[63, 18]\n\n[18, 63]\n[63, 96]\n[1]\n' >ids
try pare-run generate gpt2-lm.pare --ids --input ids --max-new-tokens 2
try pare-run score m.pare --format text <<'END'
41
END
try pare-run logits m.pare --format jsonl <<'END'
{"input_ids": [1]}
END
try pare-run generate m.pare --format jsonl <<'END'
{"text": "41", "text_b": "42"}
END
try pare-run generate m.pare --input absent.txt
try pare-run generate m.pare --input .

# needs: pare-run
# A list for heads that give one row an input, otherwise a list a position.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

model() { # golden
    pare-convert --no-tokenizer "$TESTS/data/goldens/$1" -o f.pare --force
    pare-quantize f.pare -o "$1.pare" --to int8 -q
}
model bert-cls
model bert-qa
model bert-model
model bart
printf '[50, 5]\n[32]\n' >ids
try pare-run logits bert-cls.pare --ids --input ids
try pare-run logits bert-cls.pare --ids --input ids --json
try pare-run logits bert-qa.pare --ids --input ids
try pare-run logits bert-qa.pare --ids --input ids --json
try pare-run logits bert-model.pare --ids --input ids --json
try pare-run logits bert-model.pare --ids --limit 1 --input ids
echo '{"input_ids": [23, 93], "decoder_input_ids": [2, 69]}' >ids
try pare-run logits bart.pare --ids --input ids --json
echo '{"input_ids": [23, 93], "labels": [69, 4]}' >labels
pare-run logits bart.pare --ids --input ids >a
pare-run logits bart.pare --ids --input labels >b
try cmp a b

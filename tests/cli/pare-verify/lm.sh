# needs: pare-verify
# Perplexity of a language model on plain text. Its tokenizer has a piece for each visible byte.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

mkdir lm
cp "$TESTS/data/goldens/gpt2-lm/config.json" "$TESTS/data/goldens/gpt2-lm/pytorch_model.bin" lm
echo '#version: 0.2' >lm/merges.txt
echo '{"unk_token": "~"}' >lm/tokenizer_config.json
awk 'BEGIN {
    printf "{"
    for (c = 33; c < 127; c++)
        printf "\"%s%c\": %d, ", c == 34 || c == 92 ? "\\" : "", c, c - 33
    print "\"\304\240\": 94, \"\304\212\": 95}"
}' >lm/vocab.json
pare-convert lm -o f.pare -q
pare-quantize f.pare -o a.pare --to fp16 -q
pare-quantize f.pare -o b.pare --to int8 -q
printf 'Some text of two lines,\n\n cut into windows of its own length.\n' >text
try pare-verify -r a.pare b.pare -d text
try pare-verify -r a.pare b.pare -d text --window 8 --batch-size 3 --json
try pare-verify -r a.pare b.pare -d text --window 65
try pare-verify -r a.pare b.pare -d text --columns text
try pare-verify -r a.pare b.pare -d - --limit 1 --json <text

# needs: pare-run
# A command that the model cannot do, and generation settings outside its vocabulary.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

for name in bert-cls bert-mlm bert-model bert-qa gpt2-lm bart; do
    pare-convert --no-tokenizer "$TESTS/data/goldens/$name" -o $name.pare
done
try pare-run classify absent.pare
echo text >text.pare
try pare-run classify text.pare
try pare-run classify bert-cls.pare
try pare-run tokenize bert-cls.pare --ids <<'END'
[1]
END
for name in bert-mlm bert-model gpt2-lm bart; do
    try pare-run classify $name.pare --ids
done
for name in bert-cls bert-mlm bert-model bert-qa; do
    try pare-run generate $name.pare --ids
    try pare-run score $name.pare --ids
done
try pare-run generate gpt2-lm.pare --ids --eos-token-id 96
try pare-run generate gpt2-lm.pare --ids --eos-token-id '[1, 2'
try pare-run generate gpt2-lm.pare --ids --eos-token-id '2, "num_beams": 4'
try pare-run generate gpt2-lm.pare --ids --eos-token-id '[1, 96]'
try pare-run generate gpt2-lm.pare --ids --bad-words-ids '[[3], []]'
try pare-run generate gpt2-lm.pare --ids --bad-words-ids '[[3, 96]]'
try pare-run generate gpt2-lm.pare --ids --forced-bos-token-id -1
try pare-run generate gpt2-lm.pare --ids --pad-token-id x
try pare-run generate bart.pare --ids --decoder-start-token-id 96

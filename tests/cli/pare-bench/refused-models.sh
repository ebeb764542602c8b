# needs: pare-bench
# What a model cannot do, or does not have: the sentence names the model.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o words.pare
pare-convert "$TESTS/../samples/command-intent" -o intent.pare
pare-convert --no-tokenizer "$TESTS/data/goldens/gpt2-lm" -o lm.pare
printf 'turn it off\t9\n' >data.tsv
try pare-bench absent.pare
try pare-bench intent.pare absent.pare
try pare-bench intent.pare --data absent.tsv
try pare-bench words.pare intent.pare
try pare-bench intent.pare --task generate
try pare-bench intent.pare --num-beams 4
try pare-bench intent.pare --max-new-tokens 4
try pare-bench words.pare --task forward --max-length 4
try pare-bench words.pare lm.pare --data data.tsv
try pare-bench words.pare --data data.tsv --task forward
try pare-bench intent.pare --length 97
try pare-bench lm.pare --length 40
try pare-bench lm.pare --max-length 32

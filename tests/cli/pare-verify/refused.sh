# needs: pare-verify
# What is refused, and how it is said.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o words.pare
pare-convert "$TESTS/../samples/command-intent" -o intent.pare
pare-convert --no-tokenizer "$TESTS/data/goldens/bert-mlm" -o masked.pare
printf 'turn it off\t9\n' >data.tsv
try pare-verify intent.pare
try pare-verify -r intent.pare intent.pare
try pare-verify -r intent.pare -d data.tsv
try pare-verify -r intent.pare -d data.tsv words.pare
try pare-verify -r intent.pare -d data.tsv none.pare
try pare-verify -r intent.pare -d none.tsv intent.pare
try pare-verify -r masked.pare -d data.tsv masked.pare
try pare-verify -r intent.pare -d data.tsv intent.pare --task translation
try pare-verify -r intent.pare -d data.tsv intent.pare --max-drop bleu=1
try pare-verify -r intent.pare -d data.tsv intent.pare --max-drop accuracy
try pare-verify -r intent.pare -d data.tsv intent.pare --max-drop accuracy=1 --max-drop accuracy=2
try pare-verify -r intent.pare -d data.tsv intent.pare --window 3
try pare-verify -r intent.pare -d data.tsv intent.pare --num-beams 2
printf 'turn it off\t9\nturn it on\tten\n' >data.tsv
try pare-verify -r intent.pare -d data.tsv intent.pare
printf 'turn it off\t9\nturn it on\t9\tmore\n' >data.tsv
try pare-verify -r intent.pare -d data.tsv intent.pare
printf 'turn it off\n' >data.tsv
try pare-verify -r intent.pare -d data.tsv intent.pare
try pare-verify -r words.pare -d data.tsv words.pare
: >data.tsv
try pare-verify -r words.pare -d data.tsv words.pare

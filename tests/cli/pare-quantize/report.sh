# needs: pare-quantize
# One line a tensor, and the totals; the same as JSON.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/gpt2-lm" --no-tokenizer -o m.pare
try pare-quantize m.pare --to int8 -o m8.pare --keep 'decoder.layers.0.*=fp16' | sed 's/, file.*//'
pare-quantize m.pare --to int8 -o n8.pare --keep 'decoder.layers.0.*=fp16' --json --no-self-test |
    sed -n '1,3p;$s/,"file.*//p'
try pare-quantize m.pare --to bf16 -o m8.pare -f -q

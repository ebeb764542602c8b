# needs: pare-run
# One label a token; without a tokenizer tokens are their ids.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert --no-tokenizer "$TESTS/data/goldens/bert-token-cls" -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
printf '[45, 7, 85]\n[28]\n' >ids
try pare-run classify m.pare --ids --input ids
try pare-run classify m.pare --ids --input ids --json

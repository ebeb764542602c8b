# needs: pare-run
# The self-test that pare-quantize writes into a file.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
pare-quantize f.pare -o n.pare --to int8 -q --no-self-test
try pare-run --self-test m.pare
try pare-run --self-test --json --threads 2 m.pare
try pare-run --self-test f.pare
try pare-run --self-test n.pare

# needs: pare-convert
# What is told about a checkpoint that could be converted.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-convert "$TESTS/../samples/number-words" --dry-run | tail -n +2
try pare-convert "$TESTS/../samples/command-intent" --dry-run --json |
    sed '1d;s/_bytes":[0-9]*/_bytes":N/g'
try ls -A

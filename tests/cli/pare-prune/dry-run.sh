# needs: pare-prune
# What would be kept: heads and units of every layer, positions, parameters, bytes.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-prune m.pare --dry-run
try pare-prune m.pare --dry-run --no-predict --heads 25% --ffn 50% --positions 40
try pare-prune m.pare --dry-run --heads 50% | sed 's/: [0-9.]*x .*/: …/'
pare-convert "$TESTS/../samples/number-words" -o words.pare
try pare-prune words.pare --dry-run --no-predict --positions 40 --drop-layers dec.1
try pare-prune words.pare --dry-run --no-predict --positions 40 --drop-layers dec.1 --json |
    sed 's/,"description".*/…/'
try ls -A

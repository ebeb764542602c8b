# needs: pare-export
# What is told about a model that could be exported, and what an export leaves behind.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o words.pare
pare-convert "$TESTS/../samples/command-intent" -o intent.pare
try pare-export words.pare --format safetensors --dry-run
try pare-export words.pare --format pytorch -n --json --no-tokenizer
try pare-export intent.pare -n --format hdf5 --dtype f16 --json
try pare-export intent.pare --format safetensors -o intent
try pare-export words.pare --format pytorch -o words/ --json
try ls -A . intent words
try cat intent/tokenizer_config.json

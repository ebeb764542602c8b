# needs: pare-info
# The tensors of a model, for people and for programs.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-info --tensors m.pare
pare-info --tensors --sha256 m.pare | sed -n 1,2p
pare-info --tensors --json --sha256 m.pare | sed -n 1,2p
cp "$TESTS/data/goldens/v5-bert-cls/model.safetensors" w
try pare-info w

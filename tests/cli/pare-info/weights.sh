# needs: pare-info
# Weights without any config.json: one file, an index, number formats that cannot be read.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

cp "$TESTS"/data/corpus/sharded/* .
cp "$TESTS/data/corpus/safetensors/every" .
try pare-info every
try pare-info --tensors --sha256 every
try pare-info --json mixed.index.json
pare-info --tensors --sha256 --json mixed.index.json | sed -n 1,2p
try pare-info total-wrong.index.json
try pare-info --root model one.safetensors
try pare-info missing-all.index.json
mkdir folder
cp one.safetensors folder/adapter_model.safetensors
try pare-info folder

# needs: pare-export
# Wrong usage: one sentence, exit code 2, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-export
try pare-export m.pare
try pare-export m.pare --format safetensors
try pare-export m.pare -o out
try pare-export m.pare -o out --format onnx
try pare-export m.pare -o out --format pytorch --dtype int8
try pare-export m.pare n.pare -o out --format pytorch
try ls -A

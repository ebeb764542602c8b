# needs: pare-export
# Models and folders that cannot be exported: one sentence, exit code 1, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/v5-bert-cls" --no-tokenizer -o m.pare
pare-quantize m.pare -o m8.pare --to int8 -q
mkdir full && echo mine >full/notes
echo text >file
try pare-export nowhere.pare -o out --format safetensors
try pare-export file -o out --format safetensors
try pare-export full -o out --format safetensors
try pare-export m8.pare -o out --format safetensors
try pare-export m.pare -o full --format safetensors
try pare-export m.pare -o file --format pytorch
try pare-export m.pare -o file/out --format pytorch
try pare-export m.pare -o nowhere/out --format pytorch
try pare-export m.pare -o full --format safetensors --force
try pare-export m.pare -o full --format pytorch --force
try ls -A . full
try cat full/notes

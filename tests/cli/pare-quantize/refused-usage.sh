# needs: pare-quantize
# Wrong usage: one sentence, exit code 2, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-quantize
try pare-quantize m.pare
try pare-quantize m.pare -o x.pare
try pare-quantize m.pare --to int8
try pare-quantize m.pare -o x.pare --to int4
try pare-quantize m.pare -o x.pare --to f32
try pare-quantize m.pare -o x.pare --to int8 --keep 'head.*'
try pare-quantize m.pare -o x.pare --to int8 --keep 'head.*=f33'
try pare-quantize m.pare -o x.pare --to int8 --threads 0
try pare-quantize m.pare n.pare -o x.pare --to int8
pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-quantize m.pare -o x.pare --to int8 --keep 'heda.*=f32' -q
try ls -A

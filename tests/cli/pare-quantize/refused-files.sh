# needs: pare-quantize
# Files that cannot be quantized, and places that cannot be written: nothing is changed.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
pare-quantize m.pare --to int8 -o m8.pare -q
cp m8.pare old.pare
ln -s m.pare link.pare
try pare-quantize m8.pare --to fp16 -o x.pare
try pare-quantize nowhere --to fp16 -o x.pare
echo hello >text
try pare-quantize text --to fp16 -o x.pare
head -c 5000 m.pare >cut
try pare-quantize cut --to fp16 -o x.pare | sed 's/[0-9]\{6,\}/N/g'
try pare-quantize m.pare --to fp16 -o old.pare
try pare-quantize m.pare --to fp16 -o m.pare --force
try pare-quantize m.pare --to fp16 -o link.pare --force
try pare-quantize m.pare --to fp16 -o . --force
try pare-quantize m.pare --to fp16 -o '' --force
try pare-quantize m.pare --to fp16 -o - --force
try pare-quantize m.pare --to fp16 -o absent/x.pare
try pare-quantize m.pare --to fp16 -o text/x.pare
try cmp m8.pare old.pare
try ls -A

# needs: pare-info
# What is no model and no checkpoint: one sentence.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-info
try pare-info m.pare m.pare
try pare-info m.pare --tensor
try pare-info nowhere
try pare-info .
try pare-info "/dev/null"
: >empty
try pare-info empty
echo hello >text
try pare-info text
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n' >pointer.pare
try pare-info pointer.pare
head -c 5000 m.pare >cut.pare
try pare-info cut.pare | sed 's/[0-9]\{6,\}/N/g'
{ cat m.pare && echo; } >long.pare
try pare-info long.pare | sed 's/[0-9]\{6,\}/N/g'
cp m.pare changed.pare
printf 'x' | dd of=changed.pare bs=1 seek=20001 conv=notrunc 2>dd
try pare-info --verify --quiet changed.pare
try pare-info --verify text

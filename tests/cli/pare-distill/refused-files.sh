# needs: pare-distill
# Files that would be destroyed, cannot be written, or are not what they should be.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/train/bert-cls" --no-tokenizer -o m.pare
echo '{"input_ids": [5, 6, 7], "label": 1}' >d.jsonl
cp m.pare before.pare
echo old >old
mkdir folder
with() { # of an input, or of a place to write
    try pare-distill --student m.pare --data d.jsonl --steps 1 "$@"
}

with -o old
with -o m.pare -f
with -o ./m.pare -f
with -o d.jsonl -f
with -o folder -f
with -o absent/x.pare
with -o x.pare --validation x.pare
with -o x.pare --checkpoint x.pare
with -o x.pare --checkpoint m.pare
with -o x.pare --checkpoint before.pare
with -o x.pare --checkpoint before.pare --force
with -o x.pare --checkpoint old
with -o x.pare --checkpoint before.pare --resume
with -o x.pare --log-json m.pare
with -o x.pare --log-json ./d.jsonl -f
with -o x.pare --log-json x.pare
with -o x.pare --log-json old
with -o x.pare --log-json absent/log
with -o x.pare --log-json x.pare.training
with -o x.pare --log-json ./x.pare.training --force
with -o x.pare --log-json y.training --checkpoint y.training
with -o x.pare --log-json x.pare.pseudo.jsonl --method pseudo --teacher before.pare
# A run that is refused leaves no log, which would stand in the way of the next one.
with -o x.pare --log-json log --freeze nothing
test ! -e log
with -o x.pare --log-json old --freeze nothing --force
cat old
try pare-distill --student nowhere --data d.jsonl -o x.pare
try pare-distill --student old --data d.jsonl -o x.pare
try pare-distill --student m.pare --data nowhere -o x.pare
try pare-distill --student m.pare --data - -o x.pare
try pare-distill --student m.pare --data d.jsonl --validation - -o x.pare
try cmp m.pare before.pare
try ls -A

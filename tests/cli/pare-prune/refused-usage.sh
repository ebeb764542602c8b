# needs: pare-prune
# Wrong usage: one sentence, exit code 2, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-prune
try pare-prune m.pare --heads 25%
try pare-prune m.pare -o x.pare --dry-run --heads 25%
try pare-prune m.pare -o x.pare
try pare-prune m.pare -o x.pare --heads 0%
try pare-prune m.pare -o x.pare --heads 100%
try pare-prune m.pare -o x.pare --heads many
try pare-prune m.pare -o x.pare --heads 25% --criterion guess
try pare-prune m.pare -o x.pare --heads 25% --criterion fisher
try pare-prune m.pare -o x.pare --heads-list 0:1 --align 8
try pare-prune m.pare -o x.pare --heads 25% --for int8
try pare-prune m.pare --dry-run --no-predict --heads 25% --for int8
try pare-prune m.pare -o x.pare --plan plan.json --heads 25%
try pare-prune m.pare -o x.pare --target-size 1M --target-speedup 2x
pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-prune m.pare -o x.pare --heads-list 0:1,1
try pare-prune m.pare -o x.pare --heads-list 0:4
try pare-prune m.pare -o x.pare --heads-list 0:0-3
try pare-prune m.pare -o x.pare --ffn-list 0:0-99999999999
try pare-prune m.pare -o x.pare --heads-list dec.0:1
try pare-prune m.pare -o x.pare --drop-layers 0,1,2
try pare-prune m.pare -o x.pare --keep-layers 4
try pare-prune m.pare -o x.pare --positions 64
try pare-prune m.pare -o x.pare --positions 65
pare-convert "$TESTS/data/goldens/t5" --no-tokenizer -o t.pare
try pare-prune t.pare -o x.pare --positions 5
try pare-prune t.pare -o x.pare --drop-layers dec.0,dec.1,dec.2
try pare-prune t.pare -o x.pare --heads-list 0:1
try ls -A

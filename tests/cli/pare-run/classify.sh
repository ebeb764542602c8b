# needs: pare-run
# One label an input, as text and as JSON; INT8 gives these digits on every machine.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
printf '%s\n' 'turn off the lights' '' 'wake me at seven' >in.txt
try pare-run classify m.pare --input in.txt
try pare-run classify --json m.pare --input=in.txt --limit 2
printf 'text\ttext_b\tlabel\nturn off\tthe lights\t9\n' >in.tsv
try pare-run classify m.pare --input in.tsv
try pare-run classify m.pare --ids --json <<'END'
[2, 29, 6, 24, 3]
{"input_ids": [2, 29, 6, 24, 3, 0, 0], "attention_mask": [1, 1, 1, 1, 1, 0, 0], "label": 4}
END

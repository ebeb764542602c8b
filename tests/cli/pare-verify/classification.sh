# needs: pare-verify
# Accuracy of a classifier: table, JSON, limits. BF16 and INT8 give these digits on every machine.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o f.pare
pare-quantize f.pare -o a.pare --to bf16 -q
pare-quantize f.pare -o b.pare --to int8 -q
cat >data.tsv <<'END'
sentence	label
turn off the lights	9
wake me at seven	0
play dance music	5
what is the weather like in rome	3
call my husband	7
show me the map of chicago	8
END
try pare-verify -r a.pare b.pare --data data.tsv
try pare-verify -r a.pare b.pare --data data.tsv --json --limit 2 --batch-size 1
try pare-verify -r a.pare b.pare -d data.tsv --json --limit 2 --threads 2 --max-drop accuracy=1
cut -f 1 data.tsv | tail -n +2 >texts
cut -f 2 data.tsv | tail -n +2 >labels
paste labels texts >swapped.tsv
try pare-verify -r a.pare b.pare -d swapped.tsv --columns label,text --json --limit 2

# needs: pare-run
# Translating, writing on, and the settings on the command line.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
printf '%s\n' '12 March 2021' '$4.50' 907 >in.txt
try pare-run generate m.pare --input in.txt
try pare-run generate m.pare --input in.txt --num-beams 4 --json --limit 1
pare-convert --no-tokenizer "$TESTS/data/goldens/gpt2-lm" -o f.pare --force
pare-quantize f.pare -o g.pare --to int8 -q
printf '[63, 18, 79]\n[13]\n' >ids
try pare-run generate g.pare --ids --input ids
try pare-run generate g.pare --ids --input ids --max-new-tokens 4 --json
try pare-run generate g.pare --ids --input ids --max-length 6 --eos-token-id '[29, 30]'
try pare-run generate g.pare --ids --input ids --max-new-tokens 6 --eos-token-id none \
    --bad-words-ids '[[29], [15, 11]]' --repetition-penalty 1.5
try pare-run generate g.pare --ids --input ids --max-length 8 --num-beams 3 --min-length 8 \
    --length-penalty 0.5 --no-repeat-ngram-size 2 --early-stopping never --forced-eos-token-id 2

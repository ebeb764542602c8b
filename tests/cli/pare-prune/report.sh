# needs: pare-prune
# A model is cut, the report tells how, and a plan gives the same bytes again.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
try pare-prune m.pare -o p.pare --heads-list '0:1;1:0,3' --drop-sublayers 2.ffn --plan-out plan.json
sed '1d;s/{"layer"/  &/' plan.json
try pare-prune m.pare -o q.pare --plan plan.json -q
try cmp p.pare q.pare
try pare-prune m.pare -o p.pare --drop-layers 1
try pare-prune m.pare -o m.pare --drop-layers 1 --force
pare-quantize p.pare -o p8.pare --to int8 -q
try pare-prune p8.pare -o x.pare --drop-layers 1
echo '{"input_ids": [5, 6, 7], "labels": [1, 2, 0]}' >listed.jsonl
try pare-prune m.pare -o x.pare --heads 25% --calibration listed.jsonl
try ls -A

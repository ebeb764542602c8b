# needs: pare-distill
# Options that are wrong, or contradict each other: one sentence, exit code 2, nothing is opened.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

with() { # the options alone are of interest
    try pare-distill --student m.pare --data d.tsv -o x.pare "$@"
}
of() {
    try pare-distill --teacher t.pare --data d.tsv -o x.pare "$@"
}

try pare-distill
try pare-distill --student m.pare --data d.tsv
try pare-distill --student m.pare -o x.pare
try pare-distill --data d.tsv -o x.pare
with --method distil
with --method kd,
with --method kd
with --method sft --layers 3
with --teacher t.pare
with --teacher t.pare --method sft --layers 3
of --method sft
with --layers 3
with --train-encoder
with --mix
with --pseudo-labels p.jsonl
with --steps 5 --epochs 2
with --steps 0
with --batch-size none
with --batch-size 0
with --batch-size all --batch-tokens 100
with --lr fast
with --lr -1
with --warmup slow
with --warmup 120%
with --schedule constant --min-lr 10%
with --momentum 0.9
with --optimizer sgd --nesterov
with --optimizer sgd --beta1 0.9
with --optimizer sgd --beta2 0.9
with --optimizer adafactor --eps 1e-8
with --relative-step
with --optimizer adafactor --relative-step --lr 1e-3
with --optimizer adafactor --warmup 10%
with --temperature 2
with --soft-weight 1
with --metric accuracy
with --patience 2
with --eval-every 10
with --keep best
with --share none
with --share embeddings
with --log-gradients
with --columns source,target --format jsonl
with --dropout 1.5
with --layerdrop 100%
with operand
try ls -A

# needs: pare-distill
# Data and models that cannot be trained, alone or together: found before the first step.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

samples=$TESTS/../samples
pare-convert "$samples/command-intent" -o intent.pare
pare-convert "$samples/number-words" -o words.pare
pare-convert "$TESTS/data/train/bert-cls" --no-tokenizer -o ids.pare
pare-convert "$TESTS/data/goldens/bert-qa" --no-tokenizer -o span.pare
pare-quantize intent.pare -o intent8.pare --to int8 -q
printf 'sentence\tlabel\nwake me up\t2\nlights off\tcontrol_lights\n' >good.tsv
printf 'sentence\tlabel\nwake me up\t2\nlights off\t10\n' >label.tsv
printf 'sentence\tlabel\nwake me up\t2\nlights off\tno_such_label\n' >name.tsv
printf 'wake me up\n' >texts.txt
printf 'source\ttarget\n12\ttwelve\n13\tthirteen\n' >words.tsv
printf '{"input_ids": [5, 6], "label": 1}\n{"input_ids": [5, 96], "label": 1}\n' >ids.jsonl
: >empty.tsv
pare-prune intent.pare -o intent.cut --vocabulary good.tsv -q
pare-prune words.pare -o words.cut --vocabulary words.tsv -q
of() { # a model, its data, more
    model=$1 data=$2
    shift 2
    try pare-distill --student "$model" --data "$data" -o x.pare --steps 1 "$@"
}

of intent.pare label.tsv
of intent.pare name.tsv
of intent.pare good.tsv --validation label.tsv
of intent.pare texts.txt
of words.pare texts.txt
of intent.pare empty.tsv
printf 'source\ttarget\n12\t\n' >blank.tsv
of words.pare blank.tsv
printf 'source\ttarget\n\ttwelve\n' >blank.tsv
of words.pare blank.tsv
printf 'sentence\tlabel\nwake me up\t2\n\t3\n' >blank.tsv
of intent.pare blank.tsv
of intent.pare good.tsv --validation blank.tsv
printf 'wake me up\n\nlights off\n' >blank.tsv
of intent.pare blank.tsv --method kd --teacher intent.pare
of ids.pare good.tsv
of ids.pare ids.jsonl
of intent8.pare good.tsv
of span.pare ids.jsonl
of intent.pare good.tsv --max-source 2
of intent.pare good.tsv --drop-last
of intent.pare good.tsv --block 8
of intent.pare good.tsv --max-target 8
of words.pare words.tsv --block 8
of intent.pare good.tsv --freeze 'encodr.*'
of intent.pare good.tsv --freeze '*'
of intent.pare good.tsv --lr-factor 'head.*'
of intent.pare good.tsv --no-decay 'no.such'
of intent.pare good.tsv --warmup 2
of intent.pare good.tsv --metric bleu --validation good.tsv
of intent.pare good.tsv --metric exactness --validation good.tsv
of words.pare words.tsv --metric pearson --validation words.tsv
of words.pare words.tsv --num-beams 2
of words.pare words.tsv --num-beams 2 --metric loss --validation words.tsv
of words.pare words.tsv --max-length 100000 --validation words.tsv
of words.pare words.tsv --max-length 1 --validation words.tsv
pare-prune words.pare -o words.short --positions 20 -q
of words.short words.tsv --max-length 96 --validation words.tsv
of words.short words.tsv --max-length 96 --method pseudo --teacher words.short
of words.pare words.tsv --method pseudo --teacher words.pare --max-length 1
of intent.pare good.tsv --method kd --teacher words.pare
of intent.pare good.tsv --method kd --teacher ids.pare
of intent.cut good.tsv --method kd --teacher intent.pare
of words.cut words.tsv --method pseudo --teacher words.pare
of intent.pare good.tsv --method kd --teacher intent.pare --soft-weight 0
of intent.pare good.tsv --method pseudo --teacher intent.pare
of words.pare words.tsv --method pseudo --teacher intent.pare
of words.pare words.tsv --method pseudo --teacher words.pare --pseudo-labels words.tsv
cp words.tsv mine.jsonl
of words.pare words.tsv --method pseudo --teacher words.pare --pseudo-labels mine.jsonl
pare-prune words.pare -o words.shorter --positions 1 -q
of words.pare words.tsv --method kd --teacher words.shorter
of words.pare words.tsv --method pseudo --teacher words.shorter --max-length 2
echo '{"encoder": {"types": 4}}' >types.json
try pare-distill --method kd --teacher intent.pare --student-config types.json --data good.tsv \
    -o x.pare
try pare-distill --method sft --teacher words.pare --layers 3 --data words.tsv -o x.pare
try pare-distill --method sft --teacher words.pare --layers enc=4 --data words.tsv -o x.pare
try pare-distill --method sft --teacher intent.pare --layers 2+1 --data good.tsv -o x.pare
try pare-distill --student intent.pare --data good.tsv -o x.pare --lr 1e30 --epochs 4 --warmup 0
try ls -A

# needs: pare-distill
# The report, and what is left when a run has ended.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o m.pare
printf 'sentence\tlabel\nwake me up\t2\nlights off\tcontrol_lights\nwill it rain\t9\n' >d.tsv
try pare-distill --method sft --teacher m.pare --layers 0+2 --data d.tsv --validation d.tsv \
    --epochs 2 -o a.pare --log-json a.log
try pare-distill --student a.pare --data d.tsv --steps 2 -o b.pare --json
try pare-distill --student a.pare --data d.tsv --steps 2 -o c.pare -q
try pare-distill --student a.pare --data d.tsv --steps 2 -o c.pare -fq --json
try pare-distill --student m.pare --data d.tsv --steps 1 -o d.pare -q --max-source 3 --truncate
try pare-distill --student m.pare --data d.tsv --steps 1 -o e.pare --max-source 3 --truncate
cat a.log
try cmp b.pare c.pare
try ls -A

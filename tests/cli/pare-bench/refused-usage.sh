# needs: pare-bench
# Wrong usage: one sentence, exit code 2, before any file is opened.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-bench
try pare-bench m.pare --data d.tsv --length 9
try pare-bench m.pare --data d.tsv --inputs 9
try pare-bench m.pare --ids
try pare-bench m.pare --format tsv
try pare-bench m.pare --columns text,label
try pare-bench m.pare --limit 9
try pare-bench m.pare --truncate
try pare-bench m.pare -d d.jsonl --ids --format jsonl
try pare-bench m.pare -d d.jsonl --ids --columns text
try pare-bench m.pare -d d.jsonl --format jsonl --columns text
try pare-bench m.pare --task classify
try pare-bench m.pare --runs 0
try pare-bench m.pare --inputs 0
try pare-bench m.pare --length 0
try pare-bench m.pare --batch-size 0
try pare-bench m.pare --threads 0
try pare-bench m.pare --num-beams 0
try pare-bench m.pare --max-length 0
try pare-bench m.pare --runs 2 --runs 3

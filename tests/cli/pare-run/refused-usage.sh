# needs: pare-run
# Wrong usage: one sentence, exit code 2, before any file is opened.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

try pare-run
try pare-run clasify m.pare
try pare-run classify
try pare-run classify m.pare n.pare
try pare-run --self-test classify m.pare
try pare-run --self-test m.pare --ids
for option in --num-beams=2 --max-length=9 --max-new-tokens=9 --min-length=9 --length-penalty=1 \
    --no-repeat-ngram-size=2 --early-stopping=true --repetition-penalty=2 --bad-words-ids='[]' \
    --forced-bos-token-id=1 --forced-eos-token-id=1 --decoder-start-token-id=1 --eos-token-id=1 \
    --pad-token-id=1; do
    try pare-run classify m.pare "$option" | head -n 2 | tail -n 1
done
try pare-run score m.pare --num-beams 2
try pare-run generate m.pare --num-beams 0
try pare-run generate m.pare --early-stopping maybe
try pare-run generate m.pare --batch-size 0
try pare-run generate m.pare --limit many
try pare-run generate m.pare --format xml
try pare-run generate m.pare --ids --format tsv
try pare-run generate m.pare --ids --columns source,target
try pare-run generate m.pare --format jsonl --columns source,target
try pare-run generate m.pare --force

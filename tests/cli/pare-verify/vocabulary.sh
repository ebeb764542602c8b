# needs: pare-verify
# A model whose vocabulary was cut, against the whole one: texts that are cut alike, and others.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o f.pare
printf '907\tnine hundred and seven\n41\tforty-one\n' >corpus.tsv
pare-prune f.pare -o g.pare --vocabulary corpus.tsv -q >/dev/null
pare-quantize f.pare -o a.pare --to bf16 -q
pare-quantize g.pare -o b.pare --to bf16 -q
try pare-verify -r a.pare b.pare -d corpus.tsv --max-length 20 --max-drop perplexity=0.1
printf '12\ttwelve\n' >>corpus.tsv
try pare-verify -r a.pare b.pare -d corpus.tsv --max-length 20 --max-drop perplexity=0.1 \
    --max-drop bits_per_byte=500
try pare-verify -r a.pare b.pare -d corpus.tsv --max-length 20 --json

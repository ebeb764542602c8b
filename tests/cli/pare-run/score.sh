# needs: pare-run
# Negative log-likelihood: of a target, of a text given its own beginning, of chosen labels.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/number-words" -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
printf '41\tforty-one\n41\tforty-two\n' >in.tsv
try pare-run score m.pare --input in.tsv
try pare-run score m.pare --input in.tsv --json
try pare-run score m.pare --ids <<'END'
{"input_ids": [5, 6, 0], "labels": [7, -100, 0]}
{"input_ids": [5, 6, 0], "labels": [7, -100, 0], "decoder_input_ids": [357, 7, 357]}
{"input_ids": [5, 6, 0], "decoder_input_ids": [357, 7, 357]}
END
pare-convert --no-tokenizer "$TESTS/data/goldens/gpt2-lm" -o f.pare --force
pare-quantize f.pare -o g.pare --to int8 -q
try pare-run score g.pare --ids --json <<'END'
[63, 18, 79, 76]
{"input_ids": [63, 18, 79, 76], "labels": [63, -100, 79, 76]}
[63]
END

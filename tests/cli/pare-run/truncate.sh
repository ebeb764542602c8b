# needs: pare-run
# Longer than the positions: an error that names the line, or --truncate and a warning.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

cp -r "$TESTS/data/goldens/bert-qa" qa
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' a b c >qa/vocab.txt
pare-convert qa -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
words() { for i in $(seq "$1"); do printf '%s ' "$2"; done; }
{ echo a && words 70 b; } >in.txt
try pare-run logits m.pare --input in.txt -b 8
try pare-run tokenize m.pare --input in.txt --truncate
printf '%s\t%s\n' "$(words 40 a)" "$(words 50 b)" "$(words 10 a)" "$(words 60 b)" \
    "$(words 80 a)" c >in.tsv
try pare-run tokenize m.pare --input in.tsv --columns text,text_b --truncate
pare-convert --no-tokenizer "$TESTS/data/goldens/gpt2-lm" -o g.pare
echo "[$(seq -s, 1 80)]" >ids
try pare-run score g.pare --ids --input ids
try pare-run generate g.pare --ids --input ids --truncate --quiet --max-new-tokens 30 |
    cut -d' ' -f1-35

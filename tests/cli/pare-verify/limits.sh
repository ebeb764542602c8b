# needs: pare-verify
# A limit that is exceeded: the report on standard output, a sentence on standard error, exit 3.
pare-convert "$TESTS/../samples/number-words" -o f.pare
pare-quantize f.pare -o a.pare --to bf16 -q
pare-quantize f.pare -o b.pare --to int8 -q
printf '12 March 2021\tthe twelfth of March twenty twenty-one\n' >data.tsv
printf '907\tnine hundred and six\n41\tforty-two\n' >>data.tsv
pare-verify -r a.pare b.pare -d data.tsv --max-length 20 --max-drop perplexity=0 \
    --max-drop bleu=0

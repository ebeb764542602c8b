# needs: pare-run
# The best span of the second text.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

cp -r "$TESTS/data/goldens/bert-qa" qa
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' where was ada born the queen in old \
    london near river >qa/vocab.txt
pare-convert qa -o f.pare
pare-quantize f.pare -o m.pare --to int8 -q
cat >in.jsonl <<'END'
{"question": "where was ada born", "text_b": "Ada the queen was born in old London"}
{"question": "where", "text_b": "near the river"}
END
try pare-run classify m.pare --input in.jsonl
try pare-run classify m.pare --input in.jsonl --json
try pare-run tokenize m.pare --input in.jsonl --json --limit 1
try pare-run classify m.pare --ids --json <<'END'
{"input_ids": [2, 5, 3, 12, 13, 3], "token_type_ids": [0, 0, 0, 1, 1, 1]}
END
pare-convert --no-tokenizer qa -o f.pare --force
pare-quantize f.pare -o n.pare --to int8 -q
try pare-run classify n.pare --ids --json <<'END'
{"input_ids": [2, 5, 3, 12, 13], "token_type_ids": [0, 0, 0, 1, 1]}
END
try pare-run classify m.pare --batch-size 64 --format tsv <<'END'
text	text_b
where	in london
	
where was ada	
END

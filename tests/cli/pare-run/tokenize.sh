# needs: pare-run
# What the model would read, its special tokens included.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o m.pare
printf ' Turn  off the lights\n\nturn\toff\n' >in.txt
try pare-run tokenize m.pare --input in.txt
try pare-run tokenize m.pare --input in.txt --json
try pare-run tokenize m.pare --format jsonl --json <<'END'
{"text": "turn {\"off\"}", "label": 3}
{"sentence1": "turn", "sentence2": "off"}
END
try pare-run tokenize m.pare --ids --json <<'END'
[2, 3]
END
try pare-run tokenize m.pare </dev/null

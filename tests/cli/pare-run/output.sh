# needs: pare-run
# A file appears whole or not at all, and replaces nothing without being asked.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

pare-convert "$TESTS/../samples/command-intent" -o m.pare
echo 'turn off the lights' >in.txt
try pare-run tokenize m.pare --input in.txt --output out.txt
try cat out.txt
try pare-run tokenize m.pare --input in.txt -o out.txt
try pare-run tokenize m.pare --input in.txt --ids -o out.txt --force
try cat out.txt
try pare-run tokenize m.pare --input in.txt -o out.txt --force --json
try cat out.txt
cp m.pare m.copy
try pare-run tokenize m.pare --input in.txt -o ./m.pare --force
try pare-run tokenize m.pare --input in.txt -o ./in.txt --force
try cmp m.pare m.copy
try pare-run tokenize m.pare --input in.txt -o .
try pare-run tokenize m.pare --input in.txt -o absent/out.txt
try ls -A

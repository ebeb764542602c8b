# needs: pare-convert
# Wrong usage: one sentence, exit code 2, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

mkdir c
try pare-convert
try pare-convert c
try pare-convert c d -o x.pare
try pare-convert c -o x.pare -o y.pare
try pare-convert c -o
try pare-convert c -o x.pare --dryrun
try pare-convert c -o x.pare --dry-run=yes
try pare-convert c -o x.pare --allow-unused
try pare-convert c -o x.pare -z
try pare-convert --output
try ls -A

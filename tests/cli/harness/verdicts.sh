# The harness itself: what differs must be called a failure, and what matches must pass.
mkdir g
echo 'echo one; echo two >&2; exit 3' >g/all.sh
echo one >g/all.sh.stdout
echo 't*o' >g/all.sh.stderr.glob
echo 3 >g/all.sh.exit

echo 'echo one' >g/stdout.sh
echo 'one more' >g/stdout.sh.stdout

echo 'echo noise >&2' >g/stderr.sh

echo 'exit 1' >g/exit.sh

printf 'printf "a\\nb\\n[c?]\\nd\\n"' >g/glob.sh
printf '...\n[c?]\n...\n' >g/glob.sh.stdout.glob

printf 'printf "a\\nxc\\nd\\n"' >g/literal.sh
printf '...\n[c?]\n...\n' >g/literal.sh.stdout.glob

echo '# needs: pare-nothing' >g/needs.sh

echo 'no-such-program' >g/missing.sh

for name in all stdout stderr exit glob literal needs missing; do
    code=0
    "$TESTS/cli/run" "$PWD/g/$name.sh" >out || code=$?
    echo "$name: $(tail -n 1 out); exit code $code"
done

echo 'update writes what is printed, and then it matches:'
"$TESTS/cli/run" --update "$PWD/g/stdout.sh" "$PWD/g/exit.sh" | tail -n 1
cat g/stdout.sh.stdout g/exit.sh.exit
"$TESTS/cli/run" "$PWD/g/stdout.sh" "$PWD/g/exit.sh" | tail -n 1

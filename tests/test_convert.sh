#!/bin/bash
# pare-convert and pare-info from outside: exit codes, one sentence on failure, no partial file, the
# old output intact, equal bytes twice.
#
#   tests/test_convert.sh            PARE_BIN=FOLDER says where the programs are (build/bin)

. "$(dirname "$0")/harness.sh" || exit 1
begin pare-convert pare-info
err=err

# refused CODE SENTENCE ARGUMENT...: that exit code, that part of a sentence in one line, and the
# folder holds what it held before.
refused() {
    local code=$1 part=$2 before after rc
    shift 2
    before=$(find . -type f ! -name err ! -name out | sort | xargs -r -d '\n' sha256sum)
    "$bin/pare-convert" "$@" >out 2>err
    rc=$?
    after=$(find . -type f ! -name err ! -name out | sort | xargs -r -d '\n' sha256sum)
    [ $rc = "$code" ] || echo "exit code $rc, expected $code"
    [ $rc = "$code" ] && grep -qF -- "$part" err && [ "$before" = "$after" ] &&
        [ "$(grep -cv '^Try ' err)" = 1 ] && [ ! -s out ]
}

copy() { # golden, folder
    rm -rf "$2"
    mkdir "$2"
    cp "$goldens/$1"/* "$2"
}

for name in $(ls "$goldens"); do
    "$bin/pare-convert" "$goldens/$name" --no-tokenizer -o a.pare --force >out 2>err
    check "$name converts" [ $? = 0 ]
    # a decoder of GPT-2 keeps that model's special ids, which a small vocabulary does not have
    grep -v '"bos_token_id" is 50256' err >rest
    check "$name converts silently" [ ! -s out -a ! -s rest ]
    "$bin/pare-convert" --force --no-tokenizer --output=b.pare "$goldens/$name" 2>err
    check "$name twice" cmp a.pare b.pare
    check "$name verifies" "$bin/pare-info" --verify --quiet a.pare >out
    # what is stored as it was has the same checksum in both; the rest is turned, split or computed
    "$bin/pare-info" --tensors --sha256 a.pare | cut -f4 | sort -u >model
    "$bin/pare-info" --tensors --sha256 "$goldens/$name" | cut -f4 | sort -u >checkpoint
    common=$(comm -12 model checkpoint | wc -l)
    case $name in
        *gpt*) check "$name keeps values" [ "$common" -ge 15 ] ;;
        *) check "$name keeps values" [ "$(comm -23 model checkpoint | wc -l)" -le 1 ] ;;
    esac
done

copy bert-cls mark
{ printf '\357\273\277'; cat "$goldens/bert-cls/config.json"; } >mark/config.json
"$bin/pare-convert" mark --no-tokenizer -o mark.pare 2>err
check "a byte order mark" "$bin/pare-info" --quiet mark.pare >out 2>err

copy bert-cls c
check "no output" refused 2 "no output: give -o FILE" c
check "no folder" refused 2 "" -o x.pare
check "two folders" refused 2 "" c c -o x.pare
check "unknown option" refused 2 "--fast" c --fast -o x.pare
check "folder absent" refused 1 "no such folder" nowhere --no-tokenizer -o x.pare
check "a file" refused 1 "expected the checkpoint's folder" c/config.json --no-tokenizer -o x.pare
check "tokenizer absent" refused 1 "looked for vocab.txt, tokenizer.json" c -o x.pare
check "output exists" refused 1 "--force" c --no-tokenizer -o a.pare
check "output is a folder" refused 1 "c" c --no-tokenizer -o c --force
check "output is an input" refused 1 "the output is an input" \
    c --no-tokenizer -o c/../c/pytorch_model.bin --force
check "output is the settings" refused 1 "the output is an input" \
    c --no-tokenizer -o c/config.json --force
check "output's folder absent" refused 1 "x/y.pare" c --no-tokenizer -o x/y.pare
mkdir readonly
chmod a-w readonly
if [ "$(id -u)" != 0 ]; then
    check "read-only folder" refused 1 "Permission denied" c --no-tokenizer -o readonly/x.pare
fi
full() { (ulimit -f 64 && refused "$@"); } # the system refuses to write more than 64 KiB
check "no space" full 1 "cannot write" c --no-tokenizer -o x.pare
check "no space, old output" full 1 "cannot write" c --no-tokenizer -o a.pare --force

rm c/pytorch_model.bin
check "weights absent" refused 1 "holds no checkpoint" c --no-tokenizer -o x.pare
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n' 0 \
    >c/pytorch_model.bin
check "git-lfs" refused 1 "this is a Git LFS pointer" c --no-tokenizer -o x.pare
head -c 100000 "$goldens/bert-cls/pytorch_model.bin" >c/pytorch_model.bin
check "truncated" refused 1 "pytorch_model.bin" c --no-tokenizer -o x.pare
copy v5-bert-cls c
head -c 90000 "$goldens/v5-bert-cls/model.safetensors" >c/model.safetensors
check "truncated safetensors" refused 1 "model.safetensors" c --no-tokenizer -o x.pare
copy v5-bert-cls c
rm c/config.json
check "settings absent" refused 1 "there is no config.json" c --no-tokenizer -o x.pare
echo '{"model_type": "x"}' >c/config.json
check "unknown model" refused 1 'known ones are bert' c --no-tokenizer -o x.pare
echo '{"model_type": "bert",}' >c/config.json
check "broken settings" refused 1 "c/config.json" c --no-tokenizer -o x.pare

# NaN in the last value of the file
copy v5-bert-cls c
size=$(stat -c %s c/model.safetensors)
printf '\0\0\300\177' | dd of=c/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>err
check "NaN" refused 1 "holds 1 NaN or infinite value" c --no-tokenizer -o x.pare
"$bin/pare-convert" c --no-tokenizer --allow-nonfinite -o n.pare >out 2>err
check "NaN allowed" [ $? = 0 -a -s n.pare ]
check "NaN reported" grep -q "holds 1 NaN or infinite value" err
"$bin/pare-convert" c --no-tokenizer --allow-nonfinite -q --json -o n.pare -f >out 2>err
check "NaN counted" grep -q '"nonfinite":1}' out
check "quiet" [ ! -s err ]

# more words than the embedding has rows
copy v5-bert-cls c
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n' && seq 100; } >c/vocab.txt
check "vocabulary too large" refused 1 "105 ids but the embedding only 96 rows" c -o x.pare
head -n 96 c/vocab.txt >c/v && mv c/v c/vocab.txt
"$bin/pare-convert" c -o t.pare 2>err
check "with tokenizer" [ $? = 0 ]
check "tokenizer is told" grep -q "WordPiece, 96 ids" <("$bin/pare-info" t.pare)

"$bin/pare-convert" c --dry-run >out 2>err
check "dry run" [ $? = 0 -a ! -s err ]
check "dry run tells" [ "$(grep -cE '^(family|tensors|parameters|memory|output) ' out)" = 5 ]
"$bin/pare-convert" c -n --json >out 2>err
check "dry run as JSON" grep -q '"parameters":' out
check "dry run writes nothing" [ "$(find . -name '*.pare' -newer out | wc -l)" = 0 ]

"$bin/pare-info" nowhere >out 2>err
check "info of nothing" [ $? = 1 -a ! -s out ]
"$bin/pare-info" --verify c >out 2>err
check "verify of a checkpoint" [ $? = 1 ]
printf 'x' | dd of=t.pare bs=1 seek=200 conv=notrunc 2>err
"$bin/pare-info" --verify t.pare >out 2>err
check "verify of a broken file" [ $? = 1 ]
check "verify names the tensor" grep -q "encoder.embed.tokens" err
"$bin/pare-info" --json a.pare >out 2>err
check "info as JSON" [ "$(wc -l <out)" = 1 ]
"$bin/pare-info" --tensors --json --sha256 a.pare >out 2>err
check "tensors as JSON" [ "$(grep -c '^{"name":.*"sha256":"[0-9a-f]\{64\}"}$' out)" = \
    "$("$bin/pare-info" --tensors a.pare | wc -l)" ]

if [ -x "$bin/pare" ]; then
    "$bin/pare" info a.pare >out 2>err
    check "pare info" [ $? = 0 -a -s out ]
    "$bin/pare" convrt >out 2>err
    check "pare convrt" [ $? = 2 ]
    check "a suggestion" grep -q 'did you mean "convert"' err
    "$bin/pare" >out 2>err
    check "pare alone" [ $? = 2 ]
fi

finish

#!/bin/bash
# Bad input to every program: one clear sentence on standard error, exit code 1 (2 for wrong usage),
# no file that was not there before (temporaries included), and what was there still intact.
#
#   tests/test_bad_input.sh            PARE_BIN=FOLDER says where the programs are (build/bin)

. "$(dirname "$0")/harness.sh" || exit 1
begin pare-bench pare-convert pare-info pare-quantize pare-run pare-verify

says() { # pattern of the last standard error, what
    if grep -qE -- "$1" "$err"; then result ok; else result not "$2"; fi
}

copy() { # source folder, name
    rm -rf "$2"
    mkdir "$2"
    cp "$1"/* "$2"
}

works pare-convert "$samples/command-intent" -o intent.pare
works pare-convert "$samples/number-words" -o words.pare
works pare-quantize intent.pare -o intent8.pare --to int8
works pare-quantize words.pare -o words8.pare --to int8
works pare-convert "$goldens/gpt2-lm" --no-tokenizer -o lm.pare
works pare-convert "$goldens/v5-bert-cls" --no-tokenizer -o small.pare
works pare-quantize small.pare -o small8.pare --to int8
printf 'sentence\tlabel\nset an alarm\t0\n' >intent.tsv
printf 'source\ttarget\n12\ttwelve\n' >words.tsv
echo 'set an alarm' >line

# ---- Checkpoints --------------------------------------------------------------------------------

convert() { # code, pattern: of the folder c, with its tokenizer
    refused "$1" "$2" pare-convert c -o x.pare
    refused "$1" "$2" pare-convert c -n
    refused "$1" "$2" pare-convert c -o small.pare --force # the old one stays
}
weights() { # code, pattern: of the folder c, whose tokenizer does not matter
    refused "$1" "$2" pare-convert c -o x.pare --no-tokenizer
    refused "$1" "$2" pare-convert c -o small.pare --force --no-tokenizer
}
bert() { copy "$goldens/v5-bert-cls" c; }   # safetensors
torch() { copy "$goldens/bert-cls" c; }     # PyTorch's ZIP
intent() { copy "$samples/command-intent" c; }
words() { copy "$samples/number-words" c; }

# missing files
intent && rm c/config.json && convert 1 'c: there is no config.json'
intent && rm c/vocab.txt && convert 1 'c: .*vocab\.txt'
intent && rm c/model.safetensors && convert 1 'c: the folder holds no checkpoint'
words && rm c/source.spm && convert 1 'source\.spm'
words && rm c/target.spm && convert 1 'target\.spm'
words && rm c/vocab.json && convert 1 'vocab\.json'
copy "$goldens/gpt2-lm" c && convert 1 'c: .*vocab\.json'
copy "$goldens/t5" c && convert 1 'c: .*(spiece\.model|tokenizer)'
mkdir empty && refused 1 'empty: there is no config.json' pare-convert empty -o x.pare
refused 1 'empty: the folder holds no checkpoint' pare-info empty
refused 1 'nowhere: no such folder' pare-convert nowhere -o x.pare

# settings
known='bert, gpt2, bart, marian, t5'
bert && python3 "$make" config c/config.json model_type='"llama"' &&
    weights 1 "c/config.json: .*llama.*known ones are $known"
python3 "$make" config c/config.json model_type= && weights 1 "model_type.*known ones are $known"
python3 "$make" config c/config.json model_type=7 && weights 1 'model_type.* is 7'
bert && python3 "$make" config c/config.json hidden_act='"swish9"' && weights 1 'hidden_act.*swish9'
bert && python3 "$make" config c/config.json hidden_size= && weights 1 'hidden_size|word_embeddings'
for value in 0 -1 1.5 '"64"' 1e30 null; do
    bert && python3 "$make" config c/config.json intermediate_size="$value" &&
        weights 1 'intermediate_size|intermediate.dense'
    bert && python3 "$make" config c/config.json num_attention_heads="$value" &&
        if [ "$value" = null ]; then :; else weights 1 'num_attention_heads'; fi
done
bert && python3 "$make" config c/config.json num_attention_heads=5 &&
    weights 1 'num_attention_heads'
bert && python3 "$make" config c/config.json num_hidden_layers=100000000 &&
    weights 1 'num_hidden_layers|encoder.layer.2|layers'
bert && python3 "$make" config c/config.json num_hidden_layers=1 && weights 1 'encoder.layer.1'
for text in '' '{' '[]' '{"model_type":"bert"} x' '{"a":1,"a":2}' 'version https://git-lfs'; do
    bert && printf '%s' "$text" >c/config.json && weights 1 'c/config.json'
done

# files of other kinds
bert
pointer=$(printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9' 0)
lfs='this is a Git LFS pointer'
echo "$pointer" >c/model.safetensors
weights 1 "model.safetensors: $lfs"
refused 1 "$lfs" pare-info c
refused 1 "$lfs" pare-info c/model.safetensors
torch && echo "$pointer" >c/pytorch_model.bin && weights 1 "pytorch_model.bin: $lfs"
torch && python3 "$make" zip c/pytorch_model.bin && weights 1 'pytorch_model.bin: .*(ZIP|data.pkl)'
refused 1 'pytorch_model.bin: .*(ZIP|data.pkl)' pare-info c
for name in pytorch_model.bin model.safetensors; do
    torch && rm c/pytorch_model.bin
    : >c/$name && weights 1 "$name: the file is empty"
    echo '<!DOCTYPE html><html>please log in</html>' >c/$name && weights 1 "$name: "
    gzip -c "$goldens/bert-cls/pytorch_model.bin" >c/$name && weights 1 "$name: "
    head -c 5000 /dev/zero >c/$name && weights 1 "$name: "
    rm c/$name && mkdir c/$name && weights 1 "($name|c: )"
done
intent && echo "$pointer" >c/vocab.txt && convert 1 'vocab.txt: .*'
words && echo "$pointer" >c/source.spm && convert 1 'source.spm: .*'
words && echo "$pointer" >c/vocab.json && convert 1 'vocab.json: .*'

# truncated: the tail, the middle, the header
for name in pytorch_model.bin model.safetensors; do
    source=$goldens/bert-cls/$name
    [ $name = pytorch_model.bin ] || source=$goldens/v5-bert-cls/$name
    size=$(stat -c %s "$source")
    for keep in 1 4 9 100 3000 $((size / 2)) $((size - 100)) $((size - 1)); do
        torch && rm c/pytorch_model.bin && head -c "$keep" "$source" >c/$name
        weights 1 "$name: "
        loud=yes refused 1 "$name: " pare-info c
    done
done
words && head -c 1000 "$samples/number-words/source.spm" >c/source.spm && convert 1 'source\.spm'
words && head -c 1000 "$samples/number-words/vocab.json" >c/vocab.json && convert 1 'vocab\.json'

# pickles that call
for how in reduce eval inst obj newobj stack dotted torch extension legacy; do
    torch && python3 "$make" call c/pytorch_model.bin $how "$dir/mark"
    weights 1 'pytorch_model.bin'
    refused 1 'pytorch_model.bin' pare-info c
    if [ -e "$dir/mark" ]; then result not "a pickle ($how) was executed"; else result ok; fi
    case $how in
        reduce | stack) refused 1 'posix.system' pare-convert c -o x.pare --no-tokenizer ;;
        eval) refused 1 'eval' pare-convert c -o x.pare --no-tokenizer ;;
    esac
done

# tensors
one=classifier.weight
bert && python3 "$make" tensor c/model.safetensors $one turn && weights 1 "$one.*32.*3"
bert && python3 "$make" tensor c/model.safetensors $one grow && weights 1 "$one"
bert && python3 "$make" tensor c/model.safetensors $one drop && weights 1 "$one|not covered|bytes"
bert && python3 "$make" tensor c/model.safetensors $one rename && weights 1 "$one"
bert && python3 "$make" config c/config.json intermediate_size=128 &&
    weights 1 'intermediate.dense.*(128|64)'
torch && python3 "$make" config c/config.json vocab_size=95 && weights 1 'word_embeddings.*9[56]'

# a vocabulary larger than the embedding
bert && { printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n' && seq 100; } >c/vocab.txt &&
    convert 1 '105.*96'
intent && echo onemoreword >>c/vocab.txt && convert 1 '730.*729'

# NaN and infinity
bert && python3 "$make" tensor c/model.safetensors bert.pooler.dense.weight nan=3
weights 1 'bert.pooler.dense.weight.*3 NaN or infinite'
works pare-convert c -n --no-tokenizer
works pare-convert c --no-tokenizer --allow-nonfinite -o nan.pare
says '3 NaN or infinite' "NaN are counted"
works pare-quantize nan.pare -o x.pare --to int8
says '3 NaN or infinite' "NaN are named once more"
rm x.pare
echo '{"input_ids":[1,2],"label":1}' >nan.jsonl
loud=yes refused 1 'nan.jsonl: line 1: .*not finite' \
    pare-run classify nan.pare --ids --input nan.jsonl
loud=yes refused 3 'nan.pare: 3 logits .*NaN or infinite in the candidate' \
    pare-verify -r small.pare -d nan.jsonl nan.pare
rm nan.*

# ---- Model files --------------------------------------------------------------------------------

model() { # pattern: every program refuses b.pare
    refused 1 "b.pare: .*($1)" pare-info b.pare
    refused 1 "b.pare: .*($1)" pare-info --verify b.pare
    refused 1 "b.pare: .*($1)" pare-quantize b.pare -o x.pare --to int8
    refused 1 "b.pare: .*($1)" pare-quantize b.pare -o small.pare --to int8 --force
    input=line refused 1 "b.pare: .*($1)" pare-run classify b.pare
    input=line refused 1 "b.pare: .*($1)" pare-run tokenize b.pare -o x
    refused 1 "b.pare: .*($1)" pare-verify -r intent.pare -d intent.tsv b.pare
    refused 1 "b.pare: .*($1)" pare-verify -r b.pare -d intent.tsv intent.pare
}
model 'no such|cannot open'
: >b.pare && model 'empty'
echo "$pointer" >b.pare && model 'Git LFS pointer'
size=$(stat -c %s intent8.pare)
for keep in 8 63 200 5000 $((size - 1)); do
    head -c $keep intent8.pare >b.pare && model 'truncated|\.pare file|header|shorter'
done
{ cat intent8.pare && echo; } >b.pare && model 'trailing|longer'
rm b.pare && mkdir b.pare && refused 1 'b.pare' pare-run classify b.pare
rmdir b.pare
for file in intent.tsv "$goldens/bert-cls/pytorch_model.bin" /dev/null "$samples/command-intent"; do
    for command in "pare-run classify" "pare-quantize -o x.pare --to int8" \
        "pare-verify -d intent.tsv -r intent.pare"; do
        refused 1 "$file: " $command "$file"
    done
done

# Flips of one byte: the header and the tables are checked whenever a file is opened, the values
# where --verify asks for it.
flipped=0
for i in $(seq 0 99); do
    at=$((i < 40 ? i * 5 : i * 397 % $(stat -c %s small8.pare)))
    python3 - small8.pare b.pare $at <<'FLIP'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[int(sys.argv[3])] ^= 1 << int(sys.argv[3]) % 8
open(sys.argv[2], "wb").write(data)
FLIP
    pare-info --verify b.pare >"$out" 2>"$err"
    if [ $? = 1 ] && [ "$(grep -c '^pare-info: b.pare: ' "$err")" = 1 ] && [ ! -s "$out" ]; then
        flipped=$((flipped + 1))
    else
        echo "a flip at $at was not refused"
    fi
done
if [ $flipped = 100 ]; then result ok; else result not "every flip is refused"; fi
rm b.pare

# ---- Texts --------------------------------------------------------------------------------------

{ cat line && seq -s ' ' 200; } >long
loud=yes input=long refused 1 'standard input: line 2: .*tokens.* 96 .*--truncate' \
    pare-run classify intent.pare
loud=yes refused 1 'long: line 2: .*--truncate' pare-run logits intent8.pare --input long
loud=yes refused 1 'long: line 2: .*--truncate' pare-run generate words8.pare --input long
refused 1 'long: line 2: .*--truncate' pare-run classify intent.pare --input long -o x
for command in "classify intent.pare" "generate words.pare"; do
    works pare-run $command --input long --truncate
    if [ "$(wc -l <"$out")" = 2 ] && grep -q 'cut: 1$' "$err"; then result ok; else
        result not "$command --truncate tells how many were cut"
    fi
done
{ cat intent.tsv && printf '%s\t1\n' "$(seq -s ' ' 200)"; } >long.tsv
refused 1 'long.tsv: line 3: .*--truncate' pare-verify -r intent.pare -d long.tsv intent8.pare
works pare-verify -r intent.pare -d long.tsv intent8.pare --truncate
{ cat words.tsv && printf '1\t%s\n' "$(seq -s ' ' 200)"; } >longer.tsv
refused 1 'longer.tsv: line 3: ' pare-verify -r words.pare -d longer.tsv words8.pare
python3 -c 'print([1, 2]); print(list(range(90)))' >ids
loud=yes refused 1 'ids: line 2: .*--truncate' pare-run score lm.pare --ids --input ids
loud=yes refused 1 'ids: line 2: ' pare-run generate lm.pare --ids --input ids

printf 'set\0an alarm\n' >nul
refused 1 'nul: line 1 .*NUL' pare-run classify intent.pare --input nul
refused 1 'no tokenizer' pare-run classify small.pare --input line
refused 1 'classify.*' pare-run classify words.pare --input line
refused 1 'generate.*' pare-run generate intent.pare --input line
refused 1 'line 1: .*96.*96' pare-run score lm.pare --ids --input <(echo '[1, 96]')
refused 1 'nowhere: ' pare-run classify intent.pare --input nowhere
refused 1 'nowhere: ' pare-verify -r intent.pare -d nowhere intent8.pare
refused 1 'no rows' pare-verify -r intent.pare -d /dev/null intent8.pare
refused 1 'words.tsv: line 2: .*label' pare-verify -r intent.pare -d words.tsv intent8.pare
refused 1 'compared' pare-verify -r intent.pare -d intent.tsv words8.pare
for spoilt in 'hi\t10' 'hi\tnonsense' 'hi' 'hi\t1\t1'; do
    { cat intent.tsv && printf "$spoilt\n"; } >spoilt.tsv
    refused 1 'spoilt.tsv: line 3' pare-verify -r intent.pare -d spoilt.tsv intent8.pare
done

# ---- Outputs ------------------------------------------------------------------------------------

exists='exists already'
ln -s intent.pare link.pare
ln intent.pare hard.pare
ln -s nowhere.pare dangling.pare
for target in small.pare dangling.pare; do
    refused 1 "$target: .*$exists" pare-convert "$samples/command-intent" -o $target
    refused 1 "$target: .*$exists" pare-quantize intent.pare -o $target --to int8
    refused 1 "$target: .*$exists" pare-run classify intent.pare -i line -o $target
done
mkfifo pipe
for target in . empty pipe /dev/null /dev/full '' -; do
    refused 1 'cannot write|folder' pare-convert "$samples/command-intent" -o "$target" --force
    refused 1 'cannot write|folder' pare-quantize intent.pare -o "$target" --to int8 --force
    refused 1 'cannot write|folder' pare-run classify intent.pare -i line -o "$target" --force
done
for target in intent.pare link.pare hard.pare ../work/intent.pare; do
    refused 1 'output is the input' pare-quantize intent.pare -o $target --to int8 --force
    refused 1 'output is the input' pare-quantize $target -o intent.pare --to int8 --force
    refused 2 'is an input' pare-run classify intent.pare -i line -o $target --force
done
refused 2 'line: .*is an input' pare-run classify intent.pare -i line -o line --force
intent
ln -s c/model.safetensors weights.link
ln c/vocab.txt vocab.hard
ln -s c same
for target in c/model.safetensors c/config.json c/vocab.txt c/tokenizer_config.json weights.link \
    vocab.hard same/config.json; do
    refused 1 'output is an input' pare-convert c -o $target --force
done

# folders that take no file; root writes anywhere unless it gives up the right to
mkdir readonly
cp small.pare readonly/old.pare
chmod a-w readonly
if give_up_rights readonly; then
    for target in readonly/x readonly/old.pare; do
        refused 1 "$target: cannot create: Permission denied" \
            "${user[@]}" pare-convert c -o $target --force
        refused 1 "$target: cannot create: Permission denied" \
            "${user[@]}" pare-quantize intent.pare -o $target --to int8 --force
        refused 1 "$target: cannot create: Permission denied" \
            "${user[@]}" pare-run classify intent.pare -i line -o $target --force
    done
    chmod a-r intent.tsv
    refused 1 'intent.tsv: cannot open: Permission denied' \
        "${user[@]}" pare-run classify intent.pare -i intent.tsv
    chmod a+r intent.tsv
else
    skip "read-only folder" "setpriv cannot give up root's rights here"
fi
rm -rf readonly/* 2>/dev/null
for target in nowhere/x small.pare/x /proc/x; do
    refused 1 "$target: cannot create" pare-convert c -o $target
    refused 1 "$target: cannot create" pare-quantize intent.pare -o $target --to int8
    refused 1 "$target: cannot create" pare-run classify intent.pare -i line -o $target
done

# no room: a limit on the size of files, a small filesystem, a stream that is full
yes 'set an alarm' | head -n 6000 >many
cp small.pare old.pare
for target in x old.pare; do
    refused 1 "$target: cannot write: File too large" limited pare-convert c -o $target --force
    refused 1 "cannot write: File too large" \
        limited pare-quantize intent.pare -o $target --to fp16 --force -q
    refused 1 "$target: cannot write: File too large" \
        limited pare-run classify intent.pare -i many -o $target --force
done
mkdir disk
small_disk() { # command: in a namespace of its own, so that nothing stays mounted
    unshare -m sh -c 'mount -t tmpfs -o size=128k none disk && cp small8.pare disk/old &&
        { "$@"; rc=$?; } && ls -A disk >'"$dir"'/disk && cmp small8.pare disk/old && exit $rc' \
        sh "$@"
}
if small_disk true 2>"$err"; then
    for target in disk/x disk/old; do
        for command in "pare-convert c" "pare-quantize intent.pare --to fp16 -q" \
            "pare-run classify intent.pare -i many"; do
            refused 1 'cannot write: No space left on device' \
                small_disk $command -o $target --force
            if [ "$(cat "$dir/disk")" = old ]; then result ok; else
                result not "$command leaves something on a full disk: $(cat "$dir/disk")"
            fi
        done
    done
else
    skip "full disk" "nothing can be mounted here"
fi
full() { "$@" >/dev/full; }
output='standard output.*No space left'
for program in pare-bench pare-convert pare-info pare-quantize pare-run pare-verify; do
    refused 1 "$output" full $program --help
    refused 1 "$output" full $program --version
done
refused 1 "$output" full pare-convert c -n
refused 1 "$output" full pare-info intent.pare
refused 1 "$output" full pare-info c --tensors --json
refused 1 "$output" full pare-run classify intent.pare -i many
refused 1 "$output" full pare-verify -r intent.pare -d intent.tsv intent8.pare
refused 1 "$output" full pare-bench intent8.pare --inputs 1 --runs 1

# Two programs write the same output: one of them wins, the other says so. What a killed run left
# behind is in nobody's way.
: >.both.pare.draft && : >.both.pare.0123456789
pare-quantize intent.pare -o both.pare --to int8 -q 2>"$err.1" &
pare-quantize intent.pare -o both.pare --to int8 -q 2>"$err"
one=$?
wait $!
two=$?
cat "$err.1" >>"$err"
if [ $((one + two)) = 1 ] && cmp -s both.pare intent8.pare; then result ok; else
    result not "two quantize into one file: exit codes $one and $two"
fi
says 'both.pare: .*(exists already|appeared meanwhile)' "the slower of two says so"
if [ "$(find . -name '*both*' | wc -l)" = 3 ]; then result ok; else result not "two leave files"; fi

# ---- Ctrl-C -------------------------------------------------------------------------------------

mkdir big
python3 "$make" big big
cp small.pare big/old.pare
for target in x old.pare; do
    refused 1 'interrupted' interrupted "big/.$target*" \
        pare-convert big --no-tokenizer -o big/$target --force -q
done
works pare-convert big --no-tokenizer -o big/big.pare -q
for target in x old.pare; do
    refused 1 'interrupted' interrupted "big/.$target*" \
        pare-quantize big/big.pare --to fp16 -o big/$target --force -q
done
rm -r big
refused 1 'interrupted' interrupted '' pare-run classify intent.pare -o x
refused 1 'interrupted' interrupted '' pare-run tokenize intent.pare
refused 1 'interrupted' interrupted '' pare-verify -r intent.pare -d - intent8.pare
refused 1 'interrupted' interrupted '' pare-bench intent.pare -d -

finish

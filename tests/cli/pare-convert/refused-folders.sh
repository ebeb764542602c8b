# needs: pare-convert
# Folders that cannot be converted: one sentence, exit code 1, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

edit() { python3 "$TESTS/bad_input.py" "$@"; }
fresh() { # of a golden
    rm -rf c
    cp -r "$TESTS/data/goldens/$1" c
}
convert() { try pare-convert c --no-tokenizer -o x.pare; }

try pare-convert nowhere -o x.pare
mkdir c
try pare-convert c -o x.pare
fresh bert-cls
try pare-convert c -o x.pare
try pare-convert c/pytorch_model.bin -o x.pare
edit config c/config.json model_type='"llama"'
convert
edit config c/config.json model_type='"bert"' hidden_act='"swish9"'
convert
edit config c/config.json hidden_act='"gelu"' num_attention_heads=5
convert
fresh bert-cls
rm c/pytorch_model.bin
convert
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n' >c/pytorch_model.bin
convert
echo '<!DOCTYPE html><html>please log in' >c/pytorch_model.bin
convert
edit zip c/pytorch_model.bin
convert
fresh bert-cls
edit call c/pytorch_model.bin reduce "$PWD/executed"
convert
fresh v5-bert-cls
edit tensor c/model.safetensors classifier.weight turn
convert
fresh v5-bert-cls
edit tensor c/model.safetensors classifier.weight rename
convert
try pare-convert c --no-tokenizer -o x.pare --allow-unused 'classifier.*'
fresh v5-bert-cls
edit tensor c/model.safetensors classifier.weight nan=2
convert
try pare-convert c --no-tokenizer -n -q | grep parameters
try ls -A
try pare-convert c --no-tokenizer -o x.pare --allow-nonfinite

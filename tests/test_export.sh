#!/bin/bash
# pare-export from outside: bad input ends in one sentence and leaves nothing behind; PyTorch and
# sentencepiece, where python3 has them, read what was written.
#
#   tests/test_export.sh            PARE_BIN=FOLDER says where the programs are (build/bin)

. "$(dirname "$0")/harness.sh" || exit 1
begin pare-convert pare-export pare-info pare-quantize pare-run

works pare-convert "$samples/command-intent" -o intent.pare
works pare-convert "$samples/number-words" -o words.pare
works pare-convert "$goldens/v5-bert-cls" --no-tokenizer -o small.pare
works pare-quantize intent.pare -o intent8.pare --to int8 -q
works pare-quantize words.pare -o words16.pare --to fp16 -q

# ---- Results -------------------------------------------------------------------------------------

# The same answers from what came back.
printf 'wake me at seven\nturn on the lamp in the kitchen\nwill it rain\n' >commands
printf '$1,204.50\n7:05 pm\n12.5%%\n' >numbers
for format in safetensors pytorch hdf5; do
    works pare-export intent.pare -o "i-$format" --format $format
    works pare-convert "i-$format" -o back.pare --force
    check "$format: same labels" diff <(pare-run classify intent.pare --input commands) \
        <(pare-run classify back.pare --input commands)
    works pare-export words.pare -o "w-$format" --format $format
    works pare-convert "w-$format" -o back.pare --force
    check "$format: same texts" diff <(pare-run generate words.pare --input numbers) \
        <(pare-run generate back.pare --input numbers)
    check "$format: same tensors" diff <(pare-info --tensors --sha256 words.pare) \
        <(pare-info --tensors --sha256 back.pare)
done
check "settings as they were" diff w-pytorch/config.json "$samples/number-words/config.json"
works pare-export words16.pare -o w16 --format safetensors --dtype f32
check "settings as they were, after another stage" \
    diff w16/config.json "$samples/number-words/config.json"
check "generation settings as they were" \
    diff w-pytorch/generation_config.json "$samples/number-words/generation_config.json"

# Every golden, from F16 and INT8 as well: what comes back holds the values that were stored.
for name in $(ls "$goldens"); do
    case $name in
        bert2* | bertshare) # two models in one, which no family exports
            pare-convert "$goldens/$name" --no-tokenizer -o a.pare --force -q 2>"$err"
            pare-export a.pare -o pair --format safetensors -q 2>"$err"
            check "$name: refused" [ $? = 1 -a ! -e pair -a "$(wc -l <"$err")" = 1 ]
            continue
            ;;
    esac
    pare-convert "$goldens/$name" --no-tokenizer -o a.pare --force -q 2>"$err" &&
        pare-quantize a.pare -o a8.pare --to int8 --no-self-test --force -q &&
        pare-export a8.pare -o a8 --format safetensors --dequantize -q &&
        pare-convert a8 --no-tokenizer -o b.pare --force -q
    check "$name: dequantized values" diff <(pare-info --tensors --sha256 a8.pare | cut -f 1,4) \
        <(pare-info --tensors --sha256 b.pare | cut -f 1,4)
    rm -rf a8
done

# ---- Other readers -------------------------------------------------------------------------------

python=
for candidate in python3 /usr/bin/python3; do
    [ -n "$python" ] || ! "$candidate" -c 'import torch' 2>"$err" || python=$candidate
done
if [ -n "$python" ]; then
    for name in bart bert-cls bert-mlm bert-model gpt2-lm marian t5 t5-v1_1; do
        pare-convert "$goldens/$name" --no-tokenizer -o a.pare --force -q
        works pare-export a.pare -o p --format pytorch
        works "$python" - "$goldens/$name/pytorch_model.bin" p/pytorch_model.bin <<'EOF'
import struct, sys, zipfile
import torch

old = torch.load(sys.argv[1], map_location="cpu")
try:
    new = torch.load(sys.argv[2], map_location="cpu", weights_only=True)
except TypeError:  # versions before 1.13
    new = torch.load(sys.argv[2], map_location="cpu")
made = ("position_ids", "attn.bias", "attn.masked_bias")  # buffers without information
assert type(new).__name__ == "OrderedDict"
assert set(new) == {k for k in old if not k.endswith(made)}, set(old) ^ set(new)
for name, tensor in new.items():
    assert tensor.dtype == old[name].dtype and torch.equal(tensor, old[name]), name


def shared(tensors):
    groups = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.storage().data_ptr(), []).append(name)
    return sorted(sorted(g) for g in groups.values() if len(g) > 1)


assert shared(new) == shared(old), (shared(new), shared(old))
archive = zipfile.ZipFile(sys.argv[2])
assert archive.testzip() is None
data = open(sys.argv[2], "rb").read()
for entry in archive.infolist():
    name, extra = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
    assert (entry.header_offset + 30 + name + extra) % 64 == 0, entry
EOF
        rm -rf p
    done
    works pare-export words16.pare -o h --format pytorch --dtype bf16
    works "$python" -c 'import torch
for t in torch.load("h/pytorch_model.bin").values(): assert t.dtype == torch.bfloat16'
else
    skip "PyTorch" "python3 has no torch"
fi

python=
for candidate in python3 /usr/bin/python3; do
    [ -n "$python" ] || ! "$candidate" -c 'import sentencepiece' 2>"$err" || python=$candidate
done
if [ -n "$python" ]; then
    for side in source target; do
        works "$python" - "$samples/number-words/$side.spm" w-pytorch/$side.spm <<'EOF'
import sys
import sentencepiece

a, b = (sentencepiece.SentencePieceProcessor(model_file=f) for f in sys.argv[1:])
assert a.get_piece_size() == b.get_piece_size()
for i in range(a.get_piece_size()):
    assert a.id_to_piece(i) == b.id_to_piece(i) and a.get_score(i) == b.get_score(i), i
    for kind in ("is_unknown", "is_control", "is_unused", "is_byte"):
        assert getattr(a, kind)(i) == getattr(b, kind)(i), (i, kind)
for kind in ("unk_id", "bos_id", "eos_id", "pad_id"):
    assert getattr(a, kind)() == getattr(b, kind)(), kind
for text in ("$1,204.50", "7:05 pm", " two  blanks ", "thirty-one\tdays", "\u00bd \uff11 \u00e4"):
    assert a.encode(text) == b.encode(text), text
    assert a.decode(a.encode(text)) == b.decode(b.encode(text)), text
EOF
    done
else
    skip "sentencepiece" "python3 has no sentencepiece"
fi

# ---- Bad input -----------------------------------------------------------------------------------

export_to() { refused "$1" "$2" pare-export "$3" -o new --format safetensors "${@:4}"; }
export_to 1 'nowhere.pare: cannot open' nowhere.pare
export_to 1 'commands: ' commands
export_to 1 'i-pytorch: ' i-pytorch
head -c 1000 small.pare >short.pare
export_to 1 'short.pare: ' short.pare
export_to 1 'intent8.pare: 21 tensors are INT8.*--dequantize' intent8.pare
refused 2 'no output: give -o DIR' pare-export small.pare --format pytorch
refused 2 'no format: give --format' pare-export small.pare -o new
refused 2 'onnx' pare-export small.pare -o new --format onnx

# metadata that was made by somebody else: of the same size, with its checksums
spoil() { # text, other text
    python3 - "$1" "$2" <<'EOF'
import ctypes, ctypes.util, struct, sys
old, new = (a.encode() for a in sys.argv[1:])
assert len(old) == len(new)
data = bytearray(open("small.pare", "rb").read())
at = data.index(old)
data[at:at + len(old)] = new
library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
library.XXH64.restype = ctypes.c_uint64
library.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
table, size = struct.unpack_from("<QQ", data, 32)
tensors, sections = struct.unpack_from("<II", data, 56)
for i in range(sections):
    record = table + 128 * tensors + 32 * i
    offset, length = struct.unpack_from("<QQ", data, record + 8)
    checksum = library.XXH64(bytes(data[offset:offset + length]), length, 0)
    struct.pack_into("<Q", data, record + 24, checksum)
struct.pack_into("<Q", data, 48, library.XXH64(bytes(data[table:table + size]), size, 0))
struct.pack_into("<Q", data, 120, library.XXH64(bytes(data[:120]), 120, 0))
open("spoilt.pare", "wb").write(data)
EOF
}
if spoil '"config":' '"confit":' 2>"$err"; then
    export_to 1 'spoilt.pare: the metadata has no "source" with the "config"' spoilt.pare
    spoil '"source":{' '"sourcf":{' && export_to 1 'spoilt.pare: .*"source"' spoilt.pare
    spoil '"model_type": "bert"' '"model_type": "bird"' &&
        export_to 1 'spoilt.pare: .*"bird".*known ones are bert' spoilt.pare
    spoil '"model_type": "bert"' '"model_type": 123456' &&
        export_to 1 'spoilt.pare: .*known ones are bert' spoilt.pare
    spoil $'[\n    "BertForSequenceC' $'[\n    "BertForSequenceK' &&
        export_to 1 'spoilt.pare: "architectures" is BertForSequenceK' spoilt.pare
    spoil '"hidden_act": "gelu"' '"hidden_act": "relu"' &&
        export_to 1 'spoilt.pare: .*encoder.activation is "gelu"' spoilt.pare
    spoil '"is_decoder": false' '"is_decoder": true ' && export_to 1 'is_decoder' spoilt.pare
    rm spoilt.pare
else
    skip "spoilt metadata" "python3 finds no libxxhash"
fi
rm short.pare

# folders
mkdir full
echo mine >full/notes
ln -s nowhere dangling
ln -s full link
for target in full full/ link ./full/.; do
    refused 1 'not empty \(--force' pare-export small.pare -o $target --format pytorch
done
refused 1 'commands: .*expected a folder' pare-export small.pare -o commands --format pytorch
refused 1 'expected a folder' pare-export small.pare -o dangling --format pytorch
refused 1 'nowhere/x: cannot create' pare-export small.pare -o nowhere/x --format pytorch
refused 1 'commands/x: cannot create' pare-export small.pare -o commands/x --format pytorch
refused 1 'cannot' pare-export small.pare -o '' --format pytorch
refused 1 'cannot' pare-export small.pare -o /proc/x --format pytorch
works pare-export small.pare -o full --format pytorch --force
check "what was there stays" grep -q mine full/notes
refused 1 'full: .*holds pytorch_model.bin, which would be read' \
    pare-export small.pare -o full --format safetensors --force
rm full/pytorch_model.bin
cp small.pare full/model.safetensors
refused 1 'full/model.safetensors: the output is the input' \
    pare-export full/model.safetensors -o full --format safetensors --force
rm full/model.safetensors
mkdir full/model.safetensors
refused 1 'it is a folder' pare-export small.pare -o full --format safetensors --force
rmdir full/model.safetensors

mkdir readonly
chmod a-w readonly
if give_up_rights readonly; then
    refused 1 'readonly: cannot create: Permission denied' \
        "${user[@]}" pare-export small.pare -o readonly --format pytorch
    refused 1 'readonly/x: cannot create: Permission denied' \
        "${user[@]}" pare-export small.pare -o readonly/x --format pytorch
else
    skip "read-only folder" "setpriv cannot give up root's rights here"
fi

for target in new full; do
    refused 1 "$target/(model.safetensors|pytorch_model.bin): cannot write: File too large" \
        limited pare-export intent.pare -o $target --format safetensors --force
done
mkdir disk
small_disk() { # command: in a namespace of its own, so that nothing stays mounted
    unshare -m sh -c 'mount -t tmpfs -o size=512k none disk && { "$@"; rc=$?; } &&
        ls -A disk >'"$dir"'/disk && exit $rc' sh "$@"
}
if small_disk true 2>"$err"; then
    refused 1 'disk/x/pytorch_model.bin: cannot write: No space left on device' \
        small_disk pare-export intent.pare -o disk/x --format pytorch
    check "nothing stays on a full disk" [ ! -s "$dir/disk" ]
else
    skip "full disk" "nothing can be mounted here"
fi

# ---- Ctrl-C --------------------------------------------------------------------------------------

mkdir big
python3 "$make" big big
works pare-convert big --no-tokenizer -o big.pare -q
rm -r big
for format in safetensors pytorch; do
    refused 1 'interrupted' interrupted '.new.export*/.*' \
        pare-export big.pare -o new --format $format -q
    refused 1 'interrupted' interrupted 'full/.export*/.*' \
        pare-export big.pare -o full --format $format --force -q
done

finish

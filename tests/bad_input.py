"""Makes the damaged and hostile inputs of tests/test_bad_input.sh. Standard library only.

    bad_input.py zip FILE                    a ZIP archive that is no checkpoint
    bad_input.py call FILE HOW MARK          puts a call that would create MARK before the pickle of
                                             a PyTorch file; HOW is one of CALLS, or legacy
    bad_input.py tensor FILE NAME HOW        changes a tensor of a safetensors file: turn, grow,
                                             drop, rename, or nan=COUNT
    bad_input.py config FILE KEY=JSON...     sets members of config.json (KEY= takes one away)
    bad_input.py big FOLDER                  a checkpoint of 150 MB, without its holes a few kB
    bad_input.py interrupt GLOB COMMAND...   sends SIGINT when a file matches GLOB, or when the
                                             command waits for its input where GLOB is empty;
                                             prints its exit code, its messages go to stderr
"""
import glob
import json
import signal
import struct
import subprocess
import sys
import time
import zipfile

# Each leaves one value on the pickle machine's stack; %s is what a shell would run.
CALLS = {
    "reduce": b"cposix\nsystem\n(X%sctR",
    "eval": b"c__builtin__\neval\n(X%sptR",
    "inst": b"(X%sciposix\nsystem\n",
    "obj": b"(cposix\nsystem\nX%sco",
    "newobj": b"cposix\nsystem\n(X%sct\x81",
    "stack": b"\x8c\x05posix\x8c\x06system\x93(X%sctR",
    "dotted": b"\x8c\x05torch\x8c\x0c_utils.os.sy\x93(X%sctR",
    "torch": b"ctorch.hub\nload\n(X%sctR",
    "extension": b"\x82\x01",
}


def string(text):
    return struct.pack("<I", len(text)) + text.encode()


def hostile(how, mark):
    command = "touch '%s'" % mark
    python = "__import__('os').system(%r)" % command
    return CALLS[how].replace(b"%sc", string(command)).replace(b"%sp", string(python))


def make_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing to see\n")


def put_call(path, how, mark):
    if how == "legacy":  # what torch.save wrote before it wrote archives
        with open(path, "wb") as file:
            file.write(b"\x80\x02" + hostile("reduce", mark) + b".")
        return
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            if name.endswith("/data.pkl"):
                data = data[:2] + hostile(how, mark) + b"0" + data[2:]  # 0 drops the result
            archive.writestr(name, data)


def change_tensor(path, name, how):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    tensor = header[name]
    if how == "turn":
        tensor["shape"].reverse()
    elif how == "grow":
        tensor["shape"][-1] += 1
    elif how == "drop":
        del header[name]
    elif how == "rename":
        header[name + ".extra"] = header.pop(name)
    else:
        count, begin = int(how.split("=")[1]), tensor["data_offsets"][0]
        for i in range(count):
            struct.pack_into("<f", data, begin + 4 * i, (float("nan"), float("inf"))[i % 2])
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def change_config(path, *settings):
    with open(path) as file:
        config = json.load(file)
    for setting in settings:
        key, value = setting.split("=", 1)
        if value:
            config[key] = json.loads(value)
        else:
            config.pop(key, None)
    with open(path, "w") as file:
        json.dump(config, file)


def bert_shapes(layers, width, inner, words):
    yield "embeddings.word_embeddings.weight", [words, width]
    yield "embeddings.position_embeddings.weight", [64, width]
    yield "embeddings.token_type_embeddings.weight", [2, width]
    yield "embeddings.LayerNorm.weight", [width]
    yield "embeddings.LayerNorm.bias", [width]
    for i in range(layers):
        for name, rows, columns in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            yield "encoder.layer.%d.%s.weight" % (i, name), [rows, columns]
            yield "encoder.layer.%d.%s.bias" % (i, name), [rows]
        for name in ("attention.output", "output"):
            yield "encoder.layer.%d.%s.LayerNorm.weight" % (i, name), [width]
            yield "encoder.layer.%d.%s.LayerNorm.bias" % (i, name), [width]


def make_big(folder):
    layers, width, inner, words = 12, 512, 2048, 96
    header, end = {}, 0
    for name, shape in bert_shapes(layers, width, inner, words):
        begin = end
        end += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(folder + "/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": 64,
        "num_attention_heads": 8,
        "num_hidden_layers": layers,
        "vocab_size": words,
    }
    with open(folder + "/config.json", "w") as file:
        json.dump(config, file)


def interrupt(pattern, *command):
    # A shell's background job has the signal ignored; the command must not inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deadline = time.monotonic() + 60
    if not pattern:
        time.sleep(1)
    while pattern and process.poll() is None and not glob.glob(pattern):
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
        print("it did not end")
    else:
        print(process.returncode)


if __name__ == "__main__":
    {
        "zip": make_zip,
        "call": put_call,
        "tensor": change_tensor,
        "config": change_config,
        "big": make_big,
        "interrupt": interrupt,
    }[sys.argv[1]](*sys.argv[2:])

#!/usr/bin/env python3
"""Hostile JSON in a checkpoint's folder: config.json, generation_config.json, tokenizer.json.

Numbers at and beyond 2^63, values of every wrong kind, nesting, duplicate keys, huge strings and
lists: each is refused in one sentence that names the file, or does not matter; never more than
512 MB, five seconds, a crash, or a file left behind. Standard library only; PARE_BIN=FOLDER says
where the programs are (build/bin).
"""
import json
import os
import shutil
import sys
import tempfile

from limited import BIN, ROOT, Count, run

DATA = os.path.join(ROOT, "tests/data")
IDS = 96  # rows of the embedding
LONG = bool(os.environ.get("PARE_TEST_LONG"))
NUMBERS = ["9223372036854775807", "9223372036854775808", "-9223372036854775808",
           "18446744073709551616", "9007199254740993", "4294967296", "2147483648", "-2147483649",
           "1e308", "1e400", "-1", "0.5", "NaN", "-Infinity", "1" + "0" * 400]
KINDS = ["null", "true", '"text"', '""', "[]", "{}", "[[]]", '{"a":{"b":[1,null]}}', "[1e308]",
         '"\\ud800"', '"\\u0000"', '"a\\nb"']
if not LONG:  # a third of them, each of another kind
    NUMBERS = [NUMBERS[i] for i in (1, 3, 6, 9, 12)]
    KINDS = [KINDS[i] for i in (1, 2, 4, 7, 11)]
# Numbers of config.json that make the model: no other value than the right one may pass.
SIZES = {"bert": ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size",
                  "max_position_embeddings", "type_vocab_size", "intermediate_size"],
         "bart": ["d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads",
                  "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "vocab_size",
                  "max_position_embeddings"]}


class Folder:
    """A checkpoint of which one file at a time is replaced."""

    def __init__(self, top, name, golden, tokenizer=None):
        self.path = os.path.join(top, name)
        self.options = [] if tokenizer else ["--no-tokenizer"]
        os.mkdir(self.path)
        self.files = ["config.json"] + (["generation_config.json"] if name == "bart" else [])
        for file in self.files + ["model.safetensors"]:
            shutil.copy(os.path.join(DATA, "goldens", golden, file), self.path)
        if tokenizer:
            with open(os.path.join(DATA, "tokenizers/json", tokenizer), encoding="utf-8") as f:
                fields = json.load(f)
            vocabulary = fields["model"]["vocab"]
            fields["model"]["vocab"] = {k: v for k, v in vocabulary.items() if v < IDS}
            with open(os.path.join(self.path, "tokenizer.json"), "w", encoding="utf-8") as f:
                json.dump(fields, f)

    def convert(self):
        return run("pare-convert", *self.options, "--dry-run", self.path)

    def text(self, file):
        with open(os.path.join(self.path, file), encoding="utf-8") as f:
            return f.read()

    def try_text(self, file, text):
        """The program's result with `text` (or bytes) for the file, which is then put back."""
        path = os.path.join(self.path, file)
        old = path + ".old"
        os.rename(path, old)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        result = self.convert()
        os.rename(old, path)
        return result


def refused(result, file):
    """In one sentence that names the file, or the one that does not agree with it."""
    if result.fault() is not None:
        return result.fault()
    if result.code == 0:
        return "it was accepted"
    named = file in result.err or "model.safetensors" in result.err
    return None if named else "the message does not name %s: %s" % (file, result.err)


def judged(result, file):
    """Refused properly, or accepted."""
    return result.fault() if result.code == 0 else refused(result, file)


def with_value(fields, path, text):
    """The JSON of `fields` with `text` where `path` leads."""
    copy = json.loads(json.dumps(fields))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = "@VALUE@"
    return json.dumps(copy).replace('"@VALUE@"', text)


def check_values(count, folder, name, file):
    fields = json.loads(folder.text(file))
    sizes = SIZES.get(name, []) if file == "config.json" else []
    for key in sorted(set(fields) | set(sizes)):
        for text in NUMBERS + KINDS:
            result = folder.try_text(file, with_value(fields, [key], text))
            must = key in sizes and text != "null"  # which stands for the default
            count.check((refused if must else judged)(result, file),
                        "%s: %s: \"%s\": %s" % (name, file, key, text[:40]))


def check_texts(count, folder, name, file):
    """What is wrong with a text as a whole: always refused."""
    good = folder.text(file).strip()
    inner = good[1:-1]
    deep = 100000
    cases = {
        "lists in lists": '{"a":' + "[" * deep + "]" * deep + "," + inner + "}",
        "objects in objects": '{"a":' + '{"a":' * deep + "1" + "}" * deep + "," + inner + "}",
        "only brackets": "[" * deep,
        "a key twice": '{"model_type":"x","model_type":"x",' + inner + "}",
        "a key twice, spelt differently": '{"zz":1,"\\u007az":2,' + inner + "}",
        "a key twice, far apart": '{"zz":1,' + inner + ',"zz":1}',
        "something behind it": good + "{}",
        "cut": good[:-1],
        "a comma too many": good[:-1].rstrip() + ",}",
        "a comment": "// hello\n" + good,
        "a list": "[" + good + "]",
        "nothing": "",
        "blanks": " " * 100000,
        "NUL": good + "\0",
        "UTF-16": good.encode("utf-16"),
        "invalid UTF-8": good[:-1].encode() + b',"a\xff":1}',
        "a digit string without end": '{"a":' + "9" * 1000000 + "}",
        "a string without end": '{"a":"' + "x" * 1000000,
        "a file of 300 MB": b" " * (300 << 20),
    }
    for what, text in cases.items():
        count.check(refused(folder.try_text(file, text), file), "%s: %s: %s" % (name, file, what))


def check_large(count, folder, name, file):
    """Valid but excessive: refused or not, in five seconds and 512 MB."""
    inner = folder.text(file).strip()[1:-1]
    many = 200000
    cases = {
        "a string of 64 MB": '{"zz":"' + "x" * (64 << 20) + '",' + inner + "}",
        "a key of 16 MB": '{"' + "k" * (16 << 20) + '":1,' + inner + "}",
        "many keys": "{" + "".join('"k%d":%d,' % (i, i) for i in range(many)) + inner + "}",
        "a long list": '{"zz":[' + "0," * 4000000 + "0]," + inner + "}",
        "escapes": '{"zz":"' + "\\u00e4" * 4000000 + '",' + inner + "}",
    }
    for key in ("id2label", "label2id", "pruned_heads", "vocab", "task_specific_params"):
        members = ",".join('"%d":["x%d"]' % (i, i) for i in range(many))
        cases["many members of " + key] = long_member(inner, key, "{%s}" % members)
        texts = ",".join('"%d":"x%d"' % (i, i) for i in range(many))
        cases["many texts in " + key] = long_member(inner, key, "{%s}" % texts)
    for key in ("bad_words_ids", "suppress_tokens", "eos_token_id", "architectures", "merges",
                "added_tokens", "forced_decoder_ids"):
        cases["many numbers in " + key] = long_member(inner, key, "[" + "7," * many + "7]")
        cases["many lists in " + key] = long_member(inner, key, "[" + "[7]," * many + "[7]]")
    for what, text in cases.items():
        count.check(judged(folder.try_text(file, text), file), "%s: %s: %s" % (name, file, what))


def long_member(inner, key, value):
    fields = json.loads("{" + inner + "}")
    fields.pop(key, None)
    rest = json.dumps(fields)[1:-1]
    return '{"%s":%s,%s}' % (key, value, rest) if rest else '{"%s":%s}' % (key, value)


def check_tokenizer(count, folder):
    """Values deep inside of tokenizer.json."""
    fields = json.loads(folder.text("tokenizer.json"))
    paths = [["version"], ["added_tokens"], ["added_tokens", 0], ["added_tokens", 0, "id"],
             ["added_tokens", 0, "content"], ["added_tokens", 0, "special"], ["normalizer"],
             ["normalizer", "type"], ["pre_tokenizer"], ["pre_tokenizer", "type"],
             ["post_processor"], ["post_processor", "type"], ["decoder"], ["model"],
             ["model", "type"], ["model", "unk_token"], ["model", "vocab"],
             ["model", "vocab", "[UNK]"], ["model", "max_input_chars_per_word"],
             ["model", "continuing_subword_prefix"]]
    for path in paths:
        for text in NUMBERS + KINDS:
            result = folder.try_text("tokenizer.json", with_value(fields, path, text))
            must = path[-2:] in (["vocab", "[UNK]"], ["added_tokens", "id"]) and text != "null"
            count.check((refused if must else judged)(result, "tokenizer"),
                        "tokenizer.json: %s: %s" % (path, text[:40]))


def main():
    if not os.access(os.path.join(BIN, "pare-convert"), os.X_OK):
        print("pare-convert was not built")
        return 77
    count = Count()
    with tempfile.TemporaryDirectory() as top:
        folders = {"bert": Folder(top, "bert", "v5-bert-cls", "wordpiece.json"),
                   "bart": Folder(top, "bart", "v5-bart")}
        for name, folder in folders.items():
            good = folder.convert()
            count.check(good.fault() or (None if good.code == 0 else good.err), name)
            for file in folder.files:
                check_values(count, folder, name, file)
                check_texts(count, folder, name, file)
                check_large(count, folder, name, file)
        bert = folders["bert"]
        check_tokenizer(count, bert)
        check_texts(count, bert, "bert", "tokenizer.json")
        check_large(count, bert, "bert", "tokenizer.json")
    return count.finish()


sys.exit(main())

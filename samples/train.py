#!/usr/bin/python3
"""Trains the two sample models and saves them as Hugging Face's save_pretrained would.

    samples/train.py words            number-words/: numbers and dates into words (Marian)
    samples/train.py intent           command-intent/: what a command asks for (BERT)
    samples/train.py words --score    only measure the saved model, and write its sample.json
    samples/train.py check FOLDER     compare models.py with a checkpoint and its golden.json

Needs PyTorch 1.13, sentencepiece and a C compiler. This is how the checkpoints were made; it is
not needed to use them. On two cores, words takes about a quarter of an hour, intent a few minutes.
"""
import argparse
import collections
import io
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

# Matrices are small: more BLAS threads would only wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sentencepiece
import torch
from torch.nn import functional as F

import wordpiece
from models import BertForSequenceClassification, MarianMTModel

HERE = pathlib.Path(__file__).resolve().parent
WORDS = HERE / "number-words"
INTENT = HERE / "command-intent"
TEST_ROWS = 2000
SAMPLE_ROWS = 20


# ---- data --------------------------------------------------------------------------------------


class Data:
    """Compiles make-data in a temporary folder and reads what it writes."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.program = pathlib.Path(self.folder.name) / "make-data"
        names = ("make-data.c", "data-text.c", "data-words.c", "data-intent.c")
        subprocess.run(["cc", "-std=c11", "-O2", "-o", self.program,
                        *(HERE / name for name in names)], check=True)

    def run(self, *arguments):
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    def rows(self, job, split, count, seed):
        """A list of (text, target or label)."""
        text = self.run(job, "--split", split, "--rows", count, "--seed", seed)
        return [tuple(line.split("\t")) for line in text.splitlines()[1:]]

    def labels(self):
        return self.run("intent", "--labels").splitlines()


def pad(rows, value):
    """Lists of ids to a tensor [B,T] and the mask of what is real in it."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [value] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return ids, mask


def batches(examples, size, rng):
    """Batches of examples of similar length, in random order. examples: (ids, target)."""
    order = sorted(examples, key=lambda example: (len(example[0]), rng.random()))
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(groups)
    return groups


# ---- training ----------------------------------------------------------------------------------


Recipe = collections.namedtuple("Recipe", "epochs rows batch rate warmup")


def train(model, recipe, draw, loss_of):
    """AdamW; the rate rises linearly and falls as a cosine. draw(epoch) gives fresh examples."""
    rng = random.Random(1)
    per_epoch = math.ceil(recipe.rows / recipe.batch)
    total = recipe.epochs * per_epoch
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / recipe.warmup, 0.5 + 0.5 * math.cos(math.pi * min(1, step / total))
        ),
    )
    started, model = time.time(), model.train()
    for epoch in range(recipe.epochs):
        losses = []
        for batch in batches(draw(epoch), recipe.batch, rng):
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {sum(losses) / len(losses):.4f}, "
            f"{time.time() - started:.0f} s", file=sys.stderr, flush=True,
        )
    return model.eval()


# ---- files -------------------------------------------------------------------------------------


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=True) + "\n",
                    encoding="utf-8")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def write_safetensors(path, tensors):
    """Length of the header, header, data; wide types first, as the safetensors library does."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in names:
        tensor = tensors[name].contiguous()
        raw = tensor.numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    dtypes = {name: dtype for dtype, name in DTYPES.items()}
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensor = torch.frombuffer(bytearray(raw[start:end]), dtype=dtypes[entry["dtype"]])
        tensors[name] = tensor.view(entry["shape"])
    return tensors


def load(folder, model_class):
    """A model from its folder, in whichever of the two formats it was saved."""
    model = model_class(read_json(folder / "config.json"))
    safe = folder / "model.safetensors"
    if safe.exists():
        model.load_state_dict(read_safetensors(safe))
    else:
        model.load_state_dict(torch.load(folder / "pytorch_model.bin"))
    return model.eval()


def digits(tensor):
    """Nested lists of numbers with seven significant digits."""
    if tensor.dim() > 0:
        return [digits(row) for row in tensor]
    return float(f"{tensor.item():.7g}")


def write_sample(folder, about, rows):
    """One row a line, so that a person can read it too."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    head = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
    text = f'{{{head}, "rows": [\n{lines}\n]}}\n'
    (folder / "sample.json").write_text(text, encoding="utf-8")


# ---- words: a Marian model ---------------------------------------------------------------------


def train_pieces(texts, size, rule):
    """A small unigram model. Digits stay single, so that numbers are read digit by digit."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="unigram", vocab_size=size,
        hard_vocab_limit=False, character_coverage=1.0, split_digits=True,
        normalization_rule_name=rule, bos_id=-1, eos_id=0, unk_id=1, pad_id=-1,
        num_threads=1, minloglevel=1,
    )
    return model.getvalue()


class MarianText:
    """Text to ids and back, as MarianTokenizer does it."""

    def __init__(self, folder):
        self.ids = read_json(folder / "vocab.json")
        self.pieces = {number: piece for piece, number in self.ids.items()}
        self.source, self.target = (
            sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
            for name in ("source.spm", "target.spm")
        )

    def encode(self, text, model):
        pieces = model.encode(text, out_type=str)
        return [self.ids.get(piece, self.ids["<unk>"]) for piece in pieces] + [self.ids["</s>"]]

    def decode(self, ids):
        special = {self.ids[piece] for piece in ("</s>", "<unk>", "<pad>")}
        return self.target.decode([self.pieces[i] for i in ids if i not in special])


def save_marian_text(rows):
    """Both sentencepiece models and the vocabulary that joins their pieces."""
    models = [
        train_pieces((row[0] for row in rows), 220, "nmt_nfkc"),
        train_pieces((row[1] for row in rows), 260, "identity"),
    ]
    ids = {"</s>": 0, "<unk>": 1}
    for name, model in zip(("source.spm", "target.spm"), models):
        (WORDS / name).write_bytes(model)
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        for i in range(pieces.get_piece_size()):
            ids.setdefault(pieces.id_to_piece(i), len(ids))
    ids["<pad>"] = len(ids)
    write_json(WORDS / "vocab.json", ids, indent=None)
    write_json(WORDS / "tokenizer_config.json", {
        "source_lang": "num", "target_lang": "eng", "unk_token": "<unk>", "eos_token": "</s>",
        "pad_token": "<pad>", "tokenizer_class": "MarianTokenizer", "model_max_length": 128,
    }, indent=None)
    return len(ids)


def save_marian_config(size):
    pad_id = size - 1
    generation = {
        "bad_words_ids": [[pad_id]], "bos_token_id": 0, "decoder_start_token_id": pad_id,
        "eos_token_id": 0, "forced_eos_token_id": 0, "max_length": 96, "pad_token_id": pad_id,
        "transformers_version": "4.26.1",
    }
    write_json(WORDS / "generation_config.json", {"_from_model_config": True, **generation})
    write_json(WORDS / "config.json", {
        **generation, "activation_dropout": 0.0, "activation_function": "swish",
        "architectures": ["MarianMTModel"], "attention_dropout": 0.0, "d_model": 128,
        "decoder_attention_heads": 4, "decoder_ffn_dim": 256, "decoder_layerdrop": 0.0,
        "decoder_layers": 2, "decoder_vocab_size": size, "dropout": 0.0,
        "encoder_attention_heads": 4, "encoder_ffn_dim": 256, "encoder_layerdrop": 0.0,
        "encoder_layers": 3, "init_std": 0.02, "is_encoder_decoder": True,
        "max_position_embeddings": 128, "model_type": "marian", "num_hidden_layers": 3,
        "scale_embedding": True, "share_encoder_decoder_embeddings": True,
        "torch_dtype": "float32", "use_cache": True, "vocab_size": size,
    })


def train_words(data, recipe):
    size = save_marian_text(data.rows("words", "train", 40000, 1))
    save_marian_config(size)
    text, model = MarianText(WORDS), MarianMTModel(read_json(WORDS / "config.json"))
    pad_id = size - 1

    def draw(epoch):
        rows = data.rows("words", "train", recipe.rows, epoch + 1)
        return [(text.encode(s, text.source), text.encode(t, text.target)) for s, t in rows]

    def loss_of(batch):
        source, mask = pad([source for source, _ in batch], pad_id)
        target, _ = pad([target for _, target in batch], pad_id)
        start = torch.full((len(batch), 1), pad_id)
        logits = model.decode(torch.cat([start, target[:, :-1]], 1), model.encode(source, mask),
                              mask)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad_id)

    train(model, recipe, draw, loss_of)
    # The tied table is stored once, under four names.
    torch.save(collections.OrderedDict(model.state_dict()), WORDS / "pytorch_model.bin")


def translate(model, text, sources):
    """Greedy output ids of every source, without the padding."""
    limit, pad_id = model.config["max_length"], model.config["pad_token_id"]
    rows = []
    for i in range(0, len(sources), 100):
        ids, mask = pad([text.encode(s, text.source) for s in sources[i : i + 100]], pad_id)
        for row in model.greedy(ids, mask, limit).tolist():
            end = row.index(0) + 1 if 0 in row else len(row)
            rows.append(row[:end])
    return rows


def sample_words(model, text, rows):
    """PyTorch's answers, one sequence at a time: no padding."""
    samples = []
    for source, target in rows:
        ids = text.encode(source, text.source)
        batch, mask = torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)
        out = model.greedy(batch, mask, model.config["max_length"])
        with torch.no_grad():
            logits = model.decode(out[:, :-1], model.encode(batch, mask), mask)[0]
        chosen = logits.gather(1, out[0, 1:, None])[:, 0]
        sample = {
            "source": source, "target": target, "input_ids": ids, "output_ids": out[0].tolist(),
            "output": text.decode(out[0].tolist()), "chosen_logits": digits(chosen),
        }
        if len(samples) < 4:
            sample["first_logits"] = digits(logits[0])
        samples.append(sample)
    return samples


def score_words(data):
    model, text = load(WORDS, MarianMTModel), MarianText(WORDS)
    rows = data.rows("words", "test", TEST_ROWS, 1)
    outputs = [text.decode(ids) for ids in translate(model, text, [s for s, _ in rows])]
    wrong = [(row, output) for row, output in zip(rows, outputs) if output != row[1]]
    for (source, target), output in wrong[:20]:
        print(f"  {source}: {output} (should be: {target})")
    right = len(rows) - len(wrong)
    print(f"words: {right} of {len(rows)} test rows exactly right ({right / len(rows):.2%})")
    about = {
        "model": "MarianMTModel", "data": f"make-data words --split test --rows {TEST_ROWS}",
        "generate": {"num_beams": 1, "max_length": model.config["max_length"]},
        "torch": torch.__version__, "exact_match": right / len(rows),
    }
    write_sample(WORDS, about, sample_words(model, text, rows[:SAMPLE_ROWS]))


# ---- intent: a BERT model ----------------------------------------------------------------------


def save_bert_text(rows):
    pieces = wordpiece.choose_vocabulary([row[0] for row in rows], 480, 160)
    (INTENT / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    write_json(INTENT / "tokenizer_config.json", {
        "cls_token": "[CLS]", "do_lower_case": True, "mask_token": "[MASK]",
        "model_max_length": 96, "pad_token": "[PAD]", "sep_token": "[SEP]",
        "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]",
    })
    return len(pieces)


def save_bert_config(size, labels):
    write_json(INTENT / "config.json", {
        "architectures": ["BertForSequenceClassification"], "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": None, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 128, "id2label": {str(i): name for i, name in enumerate(labels)},
        "initializer_range": 0.02, "intermediate_size": 256,
        "label2id": {name: i for i, name in enumerate(labels)}, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 96, "model_type": "bert", "num_attention_heads": 4,
        "num_hidden_layers": 3, "pad_token_id": 0, "position_embedding_type": "absolute",
        "problem_type": "single_label_classification", "torch_dtype": "float32",
        "transformers_version": "4.26.1", "type_vocab_size": 2, "use_cache": True,
        "vocab_size": size,
    })


def bert_vocabulary():
    lines = (INTENT / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {piece: number for number, piece in enumerate(lines)}


def train_intent(data, recipe):
    size = save_bert_text(data.rows("intent", "train", 20000, 1))
    save_bert_config(size, data.labels())
    ids = bert_vocabulary()
    model = BertForSequenceClassification(read_json(INTENT / "config.json"))

    def draw(epoch):
        rows = data.rows("intent", "train", recipe.rows, epoch + 1)
        return [(wordpiece.encode(text, ids), int(label)) for text, label in rows]

    def loss_of(batch):
        tokens, mask = pad([tokens for tokens, _ in batch], 0)
        return F.cross_entropy(model(tokens, mask), torch.tensor([label for _, label in batch]))

    train(model, recipe, draw, loss_of)
    write_safetensors(INTENT / "model.safetensors", model.state_dict())


@torch.no_grad()
def classify(model, tokens):
    """Logits of one sequence: no padding."""
    return model(torch.tensor([tokens]), torch.ones(1, len(tokens), dtype=torch.bool))[0]


def score_intent(data):
    model = load(INTENT, BertForSequenceClassification)
    ids, names = bert_vocabulary(), data.labels()
    rows = data.rows("intent", "test", TEST_ROWS, 1)
    samples, right = [], 0
    for text, label in rows:
        tokens = wordpiece.encode(text, ids)
        logits = classify(model, tokens)
        answer = int(logits.argmax())
        right += answer == int(label)
        if answer != int(label):
            print(f"  {text}: {names[answer]} (should be: {names[int(label)]})")
        samples.append({"sentence": text, "label": int(label), "input_ids": tokens,
                        "answer": answer, "logits": digits(logits)})
    print(f"intent: {right} of {len(rows)} test rows right ({right / len(rows):.2%})")
    about = {
        "model": "BertForSequenceClassification",
        "data": f"make-data intent --split test --rows {TEST_ROWS}",
        "torch": torch.__version__, "accuracy": right / len(rows),
    }
    write_sample(INTENT, about, samples[:SAMPLE_ROWS])


# ---- checking models.py ------------------------------------------------------------------------


@torch.no_grad()
def check(folder):
    """Loads a checkpoint that transformers saved and compares logits with its golden.json."""
    golden = read_json(folder / "golden.json")
    tensors = {
        name: torch.tensor(value["data"]).view(value["shape"])
        for name, value in {**golden["inputs"], **golden["expected"]}.items()
    }
    mask = tensors["attention_mask"].bool()
    if read_json(folder / "config.json")["model_type"] == "marian":
        model = load(folder, MarianMTModel)
        memory = model.encode(tensors["input_ids"], mask)
        logits = model.decode(tensors["decoder_input_ids"], memory, mask)
    else:
        model = load(folder, BertForSequenceClassification)
        logits = model(tensors["input_ids"], mask, tensors["token_type_ids"])
    worst = (logits - tensors["logits"]).abs().max().item()
    print(f"{folder}: logits differ by at most {worst:.1e}")
    return worst <= 1e-4


# ---- the command line --------------------------------------------------------------------------

JOBS = {
    "words": (WORDS, train_words, score_words, Recipe(20, 25000, 128, 1e-3, 400)),
    "intent": (INTENT, train_intent, score_intent, Recipe(6, 16000, 64, 6e-4, 200)),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", choices=["words", "intent", "check"])
    parser.add_argument("folder", nargs="*", type=pathlib.Path, help="for check: checkpoints")
    parser.add_argument("--score", action="store_true", help="do not train")
    options = parser.parse_args()
    if (options.job == "check") != bool(options.folder):
        parser.error("check needs folders, and nothing else takes any")
    torch.set_num_threads(2)
    torch.manual_seed(1)
    if options.job == "check":
        return 0 if all([check(folder) for folder in options.folder]) else 1
    folder, train_job, score_job, recipe = JOBS[options.job]
    folder.mkdir(exist_ok=True)
    data = Data()
    if not options.score:
        train_job(data, recipe)
    score_job(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())

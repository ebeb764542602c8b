#!/usr/bin/env python3
"""PyTorch on the shapes of bench/model.c: what pare's figures are put beside.

    OMP_WAIT_POLICY=PASSIVE python3 bench/pytorch.py [bert-base|gpt2] [THREADS]

Needs PyTorch (Debian: python3-torch and libopenblas0-pthread); nothing else of the project does.
Random weights; float32 and PyTorch's dynamic INT8. The best of several runs, after one warm-up.
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {"bert-base": (12, 768, 12, 3072, 30522, 512), "gpt2": (12, 768, 12, 3072, 50257, 1024)}
RUNS = 5


class Layer(nn.Module):
    """Pre-norm or post-norm makes no difference to the time; this one is post-norm."""

    def __init__(self, width, heads, ffn):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, cache=None, causal=False):
        B, T, W = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        scores = q @ k.transpose(-1, -2) * (W // self.heads) ** -0.5
        if causal and T > 1:
            scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, W)
        x = self.norm1(x + self.out(y))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Model(nn.Module):
    def __init__(self, layers, width, heads, ffn, vocabulary, positions, lm):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.layers = nn.ModuleList(Layer(width, heads, ffn) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary if lm else 2, bias=not lm)
        self.lm = lm

    def forward(self, ids, caches=None, past=0):
        x = self.tokens(ids) + self.positions(torch.arange(past, past + ids.shape[1]))
        for i, layer in enumerate(self.layers):
            x = layer(x, caches[i] if caches is not None else None, self.lm)
        return self.head(x[:, -1] if self.lm else x[:, 0])


def best(f, runs=RUNS):
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def decode(model, prompt, new):
    caches = [[] for _ in model.layers]
    ids = torch.randint(100, (1, prompt))
    past = 0
    for _ in range(new):
        logits = model(ids, caches, past)
        past += ids.shape[1]
        ids = logits.argmax(-1, keepdim=True)


def measure(name, label, model):
    if name == "bert-base":
        for batch in (1, 8):
            ids = torch.randint(30000, (batch, 128))
            rate = batch / best(lambda: model(ids))
            print(f"  128 tokens, batch {batch}: {rate:.1f} sequences/s")
    else:
        first = best(lambda: decode(model, 512, 1), 3)
        few, many = best(lambda: decode(model, 16, 1), 2), best(lambda: decode(model, 16, 64), 2)
        decoded = 63 / (many - few)
        print(f"  prompt of 512: {512 / first:.0f} tokens/s; decode: {decoded:.1f} tokens/s")


def main():
    names = sys.argv[1:2] or list(SHAPES)
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    with torch.no_grad():
        for name in names:
            model = Model(*SHAPES[name], lm=name == "gpt2").eval()
            print(f"{name} PyTorch {torch.__version__} f32, {torch.get_num_threads()} threads")
            measure(name, "f32", model)
            model = torch.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
            print(f"{name} PyTorch dynamic int8")
            measure(name, "int8", model)


main()

"""The other side of train_speed.py: the same model, batches and steps in PyTorch, as its users
write them: padded batches of examples of like length, masks, torch.optim.AdamW.

    train_speed_torch.py FOLDER make            writes the checkpoint that both begin with
    train_speed_torch.py FOLDER train STEPS     trains, and prints a JSON object
"""

import json
import math
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

PAD = 1


def sinusoids(positions, width):
    half = width // 2
    rates = torch.exp(torch.arange(half) * (-2 * math.log(10000.0) / width))
    angles = torch.arange(positions)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, y, mask):
        B, T, W = x.shape
        size = W // self.heads
        q = (self.q_proj(x) * size**-0.5).view(B, T, self.heads, size).transpose(1, 2)
        k = self.k_proj(y).view(B, -1, self.heads, size).permute(0, 2, 3, 1)
        v = self.v_proj(y).view(B, -1, self.heads, size).transpose(1, 2)
        weights = (q @ k + mask).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, W))


class Layer(nn.Module):
    def __init__(self, width, heads, ffn, dropout, cross):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        if cross:
            self.encoder_attn = Attention(width, heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.cross = cross

    def forward(self, x, mask, y=None, y_mask=None):
        x = self.self_attn_layer_norm(x + self.drop(self.self_attn(x, x, mask)))
        if self.cross:
            x = self.encoder_attn_layer_norm(x + self.drop(self.encoder_attn(x, y, y_mask)))
        return self.final_layer_norm(x + self.drop(self.fc2(F.silu(self.fc1(x)))))


class Stack(nn.Module):
    def __init__(self, shape, layers, cross):
        super().__init__()
        width = shape["width"]
        positions = sinusoids(shape["positions"], width)
        self.embed_positions = nn.Embedding.from_pretrained(positions, freeze=True)
        self.layers = nn.ModuleList(
            Layer(width, shape["heads"], shape["ffn"], shape["dropout"], cross)
            for _ in range(layers))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.scale = shape["width"] ** 0.5
        self.shared = nn.Embedding(shape["vocabulary"], shape["width"], PAD)
        self.encoder = Stack(shape, shape["layers"], False)
        self.decoder = Stack(shape, shape["layers"], True)
        self.drop = nn.Dropout(shape["dropout"])
        self.bias = torch.zeros(shape["vocabulary"])
        for p in self.parameters():
            if p.dim() == 2 and p.requires_grad:
                nn.init.normal_(p, std=0.02)

    def embed(self, stack, ids):
        return self.drop(self.shared(ids) * self.scale +
                         stack.embed_positions.weight[: ids.shape[1]])

    def forward(self, source, target):
        low = torch.finfo(torch.float32).min
        source_mask = torch.where(source == PAD, low, 0.0)[:, None, None]
        x, y = self.embed(self.encoder, source), self.embed(self.decoder, target)
        for layer in self.encoder.layers:
            x = layer(x, source_mask)
        T = target.shape[1]
        causal = torch.full((T, T), low).triu(1)[None, None]
        for layer in self.decoder.layers:
            y = layer(y, causal, x, source_mask)
        return F.linear(y, self.shared.weight, self.bias)


def make(folder, shape):
    torch.manual_seed(shape["seed"])
    model = Model(shape)
    state = {"model." + name: t for name, t in model.state_dict().items()}
    state["final_logits_bias"] = model.bias[None]
    for name in "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", \
            "lm_head.weight":
        state[name] = state["model.shared.weight"]
    torch.save(state, os.path.join(folder, "pytorch_model.bin"))


def padded(lists, value):
    longest = max(map(len, lists))
    return torch.tensor([l + [value] * (longest - len(l)) for l in lists])


def train(folder, shape, count):
    torch.set_num_threads(shape["threads"])
    torch.manual_seed(shape["seed"])
    model = Model(shape)
    state = torch.load(os.path.join(folder, "pytorch_model.bin"))
    model.load_state_dict({n[6:]: t for n, t in state.items() if n[6:] in model.state_dict()})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=shape["rate"], weight_decay=0)
    with open(os.path.join(folder, "batches.json"), encoding="utf-8") as f:
        batches = json.load(f)
    losses, seconds, tokens = [], [], []
    for step in range(count):
        start = time.perf_counter()
        batch = batches[step % len(batches)]
        source = padded([s for s, _ in batch], PAD)
        labels = padded([t for _, t in batch], -100)
        target = padded([[shape["start"]] + t[:-1] for _, t in batch], PAD)
        logits = model(source, target)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1),
                               label_smoothing=shape["smoothing"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
        tokens.append(sum(len(s) + len(t) for s, t in batch))
    print(json.dumps({"losses": losses, "seconds": seconds, "tokens": tokens}))


def main():
    folder, what = sys.argv[1:3]
    with open(os.path.join(folder, "shape.json"), encoding="utf-8") as f:
        shape = json.load(f)
    if what == "make":
        make(folder, shape)
    else:
        train(folder, shape, int(sys.argv[3]))


main()

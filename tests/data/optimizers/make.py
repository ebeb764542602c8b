#!/usr/bin/env python3
"""Writes trajectories.json beside this file: what optimizers make of given gradients, step by step.

AdamW and SGD are PyTorch's own (written with 1.13). Adafactor is written out below from the paper
(Shazeer and Stern 2018) with the options of the optimizer of that name in transformers. Three
tensors, a matrix, a vector and a matrix of one row; only those of two dimensions decay.
"""

import json
import math
import os

import torch

SHAPES = [(3, 5), (4,), (1, 6)]
STEPS = 12


class Adafactor:
    def __init__(self, params, lr, eps=(1e-30, 1e-3), clip=1.0, decay_rate=-0.8, beta1=None,
                 scale_parameter=True, relative_step=True, warmup_init=False, weight_decay=0.0):
        self.params, self.lr, self.eps, self.clip = params, lr, eps, clip
        self.decay_rate, self.beta1, self.scale = decay_rate, beta1, scale_parameter
        self.relative, self.warmup, self.weight_decay = relative_step, warmup_init, weight_decay
        self.state = [{} for _ in params]
        self.steps = 0

    def step(self):
        self.steps += 1
        beta2 = 1 - math.pow(self.steps, self.decay_rate)
        for p, s in zip(self.params, self.state):
            g = p.grad
            rate = self.lr
            if self.relative:
                rate = min(1e-6 * self.steps if self.warmup else 1e-2, 1 / math.sqrt(self.steps))
            if self.scale:
                rate *= max(self.eps[1], float(p.data.norm(2) / math.sqrt(p.numel())))
            squares = g * g + self.eps[0]
            if p.dim() >= 2:
                row = s.get("row", torch.zeros(p.shape[0])) * beta2 + squares.mean(1) * (1 - beta2)
                col = s.get("col", torch.zeros(p.shape[1])) * beta2 + squares.mean(0) * (1 - beta2)
                s["row"], s["col"] = row, col
                update = torch.outer((row / row.mean()).rsqrt(), col.rsqrt()) * g
            else:
                s["sq"] = s.get("sq", torch.zeros_like(g)) * beta2 + squares * (1 - beta2)
                update = s["sq"].rsqrt() * g
            update = update / max(1.0, float(update.norm(2) / math.sqrt(p.numel())) / self.clip)
            update = update * rate
            if self.beta1 is not None:
                s["m"] = s.get("m", torch.zeros_like(g)) * self.beta1 + update * (1 - self.beta1)
                update = s["m"]
            decay = self.weight_decay * rate if p.dim() >= 2 else 0
            p.data = p.data - p.data * decay - update


def groups(params, weight_decay):
    return [{"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0}]


CASES = [
    {"kind": "adamw", "rate": 1e-2, "weight_decay": 0.1},
    {"kind": "adamw", "rate": 5e-4, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "max_norm": 1.0},
    {"kind": "sgd", "rate": 0.1},
    {"kind": "sgd", "rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    {"kind": "sgd", "rate": 0.05, "momentum": 0.8, "nesterov": True, "max_norm": 0.5},
    {"kind": "adafactor"},
    {"kind": "adafactor", "warmup_init": True, "weight_decay": 0.1},
    {"kind": "adafactor", "rate": 1e-2, "relative_step": False, "scale_parameter": False,
     "beta1": 0.9, "weight_decay": 0.05},
    {"kind": "adafactor", "rate": 3e-2, "relative_step": False, "clip_threshold": 0.5,
     "decay_rate": -0.6, "max_norm": 1.0},
]


def optimizer(case, params):
    decay, rate = case.get("weight_decay", 0.0), case.get("rate", 0.0)
    if case["kind"] == "adamw":
        return torch.optim.AdamW(groups(params, decay), lr=rate, eps=case.get("eps", 1e-8),
                                 betas=(case.get("beta1", 0.9), case.get("beta2", 0.999)))
    if case["kind"] == "sgd":
        return torch.optim.SGD(groups(params, decay), lr=rate, momentum=case.get("momentum", 0),
                               nesterov=case.get("nesterov", False))
    return Adafactor(params, rate, clip=case.get("clip_threshold", 1.0), beta1=case.get("beta1"),
                     decay_rate=case.get("decay_rate", -0.8), weight_decay=decay,
                     scale_parameter=case.get("scale_parameter", True),
                     relative_step=case.get("relative_step", True),
                     warmup_init=case.get("warmup_init", False))


def flat(tensors):
    return [float(x) for t in tensors for x in t.reshape(-1)]


def run(case, weights, gradients):
    params = [torch.nn.Parameter(w.clone()) for w in weights]
    o = optimizer(case, params)
    average, norms, steps = flat(params), [], []
    for step in gradients:
        for p, g in zip(params, step):
            p.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_(params, case.get("max_norm") or math.inf)
        norms.append(float(norm))
        o.step()
        steps.append(flat(p.data for p in params))
        average = [0.9 * a + 0.1 * w for a, w in zip(average, steps[-1])]
    return {**case, "norms": norms, "weights": steps, "average": average}


def main():
    torch.manual_seed(20)
    weights = [torch.randn(s) for s in SHAPES]
    gradients = [[torch.randn(s) * 10 ** (i % 3 - 2) for s in SHAPES] for i in range(STEPS)]
    result = {"weights": flat(weights), "gradients": [flat(g) for g in gradients],
              "cases": [run(c, weights, gradients) for c in CASES]}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trajectories.json")
    with open(path, "w", encoding="utf-8") as f:
        text = json.dumps(result, separators=(",", ":"))
        f.write(text.replace("],", "],\n").replace("{", "\n{") + "\n")


if __name__ == "__main__":
    main()

"""The two model families of the samples, in plain PyTorch.

Modules and parameters carry the names that Hugging Face transformers gives them, in the same order,
so that state_dict() is what MarianMTModel and BertForSequenceClassification would save. Needed only
to make the samples; nothing of this runs when they are used.

Shapes: B sequences in a batch, S source and T target tokens (or T tokens in BERT), E width,
H heads, V vocabulary.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F


def attend(query, key, value, heads, allowed):
    """Attention; allowed is True where a query may look: [B or 1, 1, T or 1, S]."""
    B, T, E = query.shape
    q, k, v = (x.view(B, -1, heads, E // heads).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(2, 3) / math.sqrt(E // heads)
    scores = scores.masked_fill(~allowed, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, E)


def initialize(model, embedding_std):
    """Xavier for matrices, zero biases: small post-norm models start faster than from HF's 0.02."""
    for name, parameter in model.named_parameters():
        if "embed" in name or "shared" in name:
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=embedding_std)
        elif parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


# ---- Marian: encoder and decoder, post-norm, sinusoidal positions ------------------------------


def sinusoidal_positions(count, width):
    """Marian's table: the sines in the first half of each row, the cosines in the second."""
    position = torch.arange(count, dtype=torch.float64)[:, None]
    rate = torch.pow(10000.0, -torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.cat([torch.sin(position * rate), torch.cos(position * rate)], 1).float()


class MarianAttention(nn.Module):
    def __init__(self, config, heads):
        super().__init__()
        E = config["d_model"]
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(E, E), nn.Linear(E, E)
        self.q_proj, self.out_proj = nn.Linear(E, E), nn.Linear(E, E)

    def forward(self, x, memory, allowed):
        y = attend(self.q_proj(x), self.k_proj(memory), self.v_proj(memory), self.heads, allowed)
        return self.out_proj(y)


class MarianLayer(nn.Module):
    def __init__(self, config, side):
        super().__init__()
        E, heads = config["d_model"], config[side + "_attention_heads"]
        self.self_attn = MarianAttention(config, heads)
        self.self_attn_layer_norm = nn.LayerNorm(E)
        if side == "decoder":
            self.encoder_attn = MarianAttention(config, heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(E)
        self.fc1 = nn.Linear(E, config[side + "_ffn_dim"])
        self.fc2 = nn.Linear(config[side + "_ffn_dim"], E)
        self.final_layer_norm = nn.LayerNorm(E)
        self.dropout = nn.Dropout(config["dropout"])

    def forward(self, x, allowed, memory=None, memory_allowed=None):
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, x, allowed)))
        if memory is not None:
            y = self.encoder_attn(x, memory, memory_allowed)
            x = self.encoder_attn_layer_norm(x + self.dropout(y))
        return self.final_layer_norm(x + self.dropout(self.fc2(F.silu(self.fc1(x)))))


class MarianStack(nn.Module):
    """The encoder or the decoder. Both look words up in the table they share."""

    def __init__(self, config, side, shared):
        super().__init__()
        self.embed_tokens = shared
        self.layers = nn.ModuleList(
            MarianLayer(config, side) for _ in range(config[side + "_layers"])
        )
        self.scale = math.sqrt(config["d_model"]) if config["scale_embedding"] else 1.0
        self.dropout = nn.Dropout(config["dropout"])
        # Not persistent: transformers computes the table and does not save it.
        table = sinusoidal_positions(config["max_position_embeddings"], config["d_model"])
        self.register_buffer("positions", table, persistent=False)

    def forward(self, ids, allowed, memory=None, memory_allowed=None):
        x = self.dropout(self.embed_tokens(ids) * self.scale + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, allowed, memory, memory_allowed)
        return x


class MarianModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.shared = nn.Embedding(config["vocab_size"], config["d_model"])
        self.encoder = MarianStack(config, "encoder", self.shared)
        self.decoder = MarianStack(config, "decoder", self.shared)


class MarianMTModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("final_logits_bias", torch.zeros(1, config["vocab_size"]))
        self.model = MarianModel(config)
        self.lm_head = nn.Linear(config["d_model"], config["vocab_size"], bias=False)
        self.lm_head.weight = self.model.shared.weight
        initialize(self, config["d_model"] ** -0.5)

    def encode(self, ids, mask):
        """ids [B,S] and mask (True = a real token) to [B,S,E]."""
        return self.model.encoder(ids, mask[:, None, None, :])

    def decode(self, ids, memory, mask):
        """ids [B,T], memory [B,S,E] to logits [B,T,V]."""
        T = ids.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool).tril()[None, None]
        x = self.model.decoder(ids, causal, memory, mask[:, None, None, :])
        return self.lm_head(x) + self.final_logits_bias

    @torch.no_grad()
    def greedy(self, ids, mask, max_length):
        """What generate(num_beams=1) gives: rows that begin with the start token, end with </s>.

        The pad token is banned, as bad_words_ids says; a last place may be forced to be </s>.
        """
        pad, eos = self.config["pad_token_id"], self.config["eos_token_id"]
        last = self.config["forced_eos_token_id"]
        memory = self.encode(ids, mask)
        out = torch.full((len(ids), 1), self.config["decoder_start_token_id"])
        done = torch.zeros(len(ids), dtype=torch.bool)
        while out.shape[1] < max_length and not done.all():
            logits = self.decode(out, memory, mask)[:, -1]
            logits[:, pad] = float("-inf")
            token = logits.argmax(-1).masked_fill(done, pad)
            if out.shape[1] == max_length - 1 and last is not None:
                token = token.masked_fill(~done, last)
            out = torch.cat([out, token[:, None]], 1)
            done |= token == eos
        return out


# ---- BERT: encoder, post-norm, learned positions -----------------------------------------------


class Names(nn.Module):
    """A namespace: modules under the names of the keyword arguments, in their order."""

    def __init__(self, /, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        E, positions = config["hidden_size"], config["max_position_embeddings"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], E)
        self.position_embeddings = nn.Embedding(positions, E)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], E)
        self.LayerNorm = nn.LayerNorm(E, eps=config["layer_norm_eps"])
        self.register_buffer("position_ids", torch.arange(positions)[None])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, ids, types):
        x = self.word_embeddings(ids) + self.token_type_embeddings(types)
        x = x + self.position_embeddings(self.position_ids[:, : ids.shape[1]])
        return self.dropout(self.LayerNorm(x))


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        E, inner, eps = (
            config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        )
        self.heads = config["num_attention_heads"]
        self.attention = Names(
            self=Names(query=nn.Linear(E, E), key=nn.Linear(E, E), value=nn.Linear(E, E)),
            output=Names(dense=nn.Linear(E, E), LayerNorm=nn.LayerNorm(E, eps=eps)),
        )
        self.intermediate = Names(dense=nn.Linear(E, inner))
        self.output = Names(dense=nn.Linear(inner, E), LayerNorm=nn.LayerNorm(E, eps=eps))
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, x, allowed):
        look, out = getattr(self.attention, "self"), self.attention.output
        y = attend(look.query(x), look.key(x), look.value(x), self.heads, allowed)
        x = out.LayerNorm(x + self.dropout(out.dense(y)))
        y = self.output.dense(F.gelu(self.intermediate.dense(x)))
        return self.output.LayerNorm(x + self.dropout(y))


class BertForSequenceClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        E = config["hidden_size"]
        layers = [BertLayer(config) for _ in range(config["num_hidden_layers"])]
        self.bert = Names(
            embeddings=BertEmbeddings(config),
            encoder=Names(layer=nn.ModuleList(layers)),
            pooler=Names(dense=nn.Linear(E, E)),
        )
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.classifier = nn.Linear(E, len(config["id2label"]))
        initialize(self, 0.05)

    def forward(self, ids, mask, types=None):
        """ids [B,T] and mask (True = a real token) to logits [B,labels]."""
        types = torch.zeros_like(ids) if types is None else types
        x = self.bert.embeddings(ids, types)
        for layer in self.bert.encoder.layer:
            x = layer(x, mask[:, None, None, :])
        pooled = torch.tanh(self.bert.pooler.dense(x[:, 0]))
        return self.classifier(self.dropout(pooled))

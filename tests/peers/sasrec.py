"""One SASRec training step in PyTorch, as the yardstick of `ablate bench sasrec`: prints milliseconds per step.

The same network, batch and loss as the `sasrec` plugin trains, written as PyTorch users would for speed: fused QKV,
no padding mask for full sequences, fused Adam. Usage: sasrec.py ATTENTION LOSS STEPS, where ATTENTION is sdpa or mha
(the faster of the two depends on the machine) and LOSS is bce or cross_entropy. torch_train.py trains it to the end.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

ITEMS, HIDDEN, LAYERS, HEADS, LENGTH, BATCH, DROPOUT = 3500, 64, 2, 2, 50, 128, 0.2


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x):
        batch, length, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, hidden // HEADS).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=DROPOUT if self.training else 0.0)
        return self.output(x.transpose(1, 2).reshape(batch, length, hidden))


class MultiheadAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(HIDDEN, HEADS, DROPOUT, batch_first=True)
        self.register_buffer("mask", torch.triu(torch.full((LENGTH, LENGTH), float("-inf")), 1))

    def forward(self, x):
        mask = self.mask[: x.shape[1], : x.shape[1]]
        return self.attention(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]


ATTENTION = {"sdpa": Attention, "mha": MultiheadAttention}


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.attention = attention()
        self.dropout = nn.Dropout(DROPOUT)
        self.feed_forward = nn.Sequential(
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, HIDDEN)
        )

    def forward(self, x):
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class SasRec(nn.Module):
    def __init__(self, attention, items=ITEMS):
        super().__init__()
        self.items = nn.Embedding(items + 1, HIDDEN)  # the last is the padding's
        self.positions = nn.Embedding(LENGTH, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*[Block(attention) for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(HIDDEN)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)

    def forward(self, histories, places=None):
        """`places` `[batch, length]` are the rows of `positions`; all of them, in order, when not given."""
        x = self.items(histories) * HIDDEN**0.5
        x = x + (self.positions.weight if places is None else self.positions(places))
        return self.norm(self.blocks(self.dropout(x)))


def bce(model, states, targets):
    negatives = torch.randint(0, ITEMS - 1, targets.shape)
    negatives += negatives >= targets
    positive = (states * model.items(targets)).sum(-1)
    negative = (states * model.items(negatives)).sum(-1)
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative)).mean() / 2


def cross_entropy(model, states, targets):
    return F.cross_entropy(states @ model.items.weight[:-1].T, targets)


def main():
    loss, steps = {"bce": bce, "cross_entropy": cross_entropy}[sys.argv[2]], int(sys.argv[3])
    torch.manual_seed(1)
    model = SasRec(ATTENTION[sys.argv[1]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    sequences = torch.randint(0, ITEMS, (steps + 5, BATCH, LENGTH + 1))
    for step, sequence in enumerate(sequences):
        if step == 5:  # the first ones warm up
            wall, cpu = time.perf_counter(), time.process_time()
        states = model(sequence[:, :-1]).reshape(-1, HIDDEN)
        value = loss(model, states, sequence[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{1e3 * wall / steps:.2f} {1e3 * cpu / steps:.2f}")


if __name__ == "__main__":
    main()

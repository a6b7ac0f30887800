"""Transformers of two layers, as libraries write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class _Attention(nn.Module):
    """Heads written out with matmul and softmax, or torch's fused function."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x, mask=None):
        n, t, d = x.shape
        q, k, v = (
            p.view(n, t, self.heads, d // self.heads).transpose(1, 2)
            for p in self.qkv(x).split(d, -1)
        )
        if self.fused:
            h = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
            if mask is not None:
                scores = scores + mask
            h = self.drop(torch.softmax(scores, -1)) @ v
        return self.out(h.transpose(1, 2).reshape(n, t, d))


class BERT(nn.Module):
    """Post-norm layers over word, position and type embeddings; a pooled and a masked head."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.words = nn.Embedding(30, width)
        self.positions = nn.Embedding(12, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.attention = nn.ModuleList(_Attention(width, 4, False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width)) for _ in range(2)
        )
        self.pooler = nn.Linear(width, width)
        self.predict = nn.Linear(width, 30)
        self.predict.weight = self.words.weight

    def forward(self, ids, types, mask):
        positions = torch.arange(ids.size(1), device=ids.device).unsqueeze(0)
        x = self.norm(self.words(ids) + self.positions(positions) + self.types(types))
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * -1e4
        for i, (attention, feed) in enumerate(zip(self.attention, self.feed, strict=True)):
            x = self.norms[2 * i](x + attention(x, bias))
            x = self.norms[2 * i + 1](x + feed(x))
        return self.predict(x), torch.tanh(self.pooler(x[:, 0]))


class GPT(nn.Module):
    """Pre-norm layers with causal attention; the head is the embedding."""

    def __init__(self, width: int = 16, fused: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(30, width)
        self.positions = nn.Parameter(torch.zeros(1, 12, width))
        self.attention = nn.ModuleList(_Attention(width, 2, fused) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.GELU(approximate="tanh"), nn.Linear(32, width))
            for _ in range(2)
        )
        self.fused = fused

    def forward(self, ids):
        t = ids.size(1)
        x = self.words(ids) + self.positions[:, :t]
        mask = None if self.fused else torch.full((t, t), float("-inf")).triu(1)
        for i, (attention, feed) in enumerate(zip(self.attention, self.feed, strict=True)):
            x = x + attention(self.norms[2 * i](x), mask)
            x = x + feed(self.norms[2 * i + 1](x))
        return F.linear(self.norms[4](x), self.words.weight)


class ViT(nn.Module):
    """Patches by a convolution, a class token, torch's own encoder layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 17, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 32, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(h.size(0), -1, -1), h], 1) + self.positions
        return self.head(self.encoder(h)[:, 0])

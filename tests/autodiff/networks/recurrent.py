"""Recurrent networks: a tagger, a translator."""

from __future__ import annotations

import torch
from torch import nn


class BiLSTMTagger(nn.Module):
    """Embedding and features, two bidirectional layers, a score a tag."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(12, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(16, 5)

    def forward(self, words, features):
        h, _ = self.lstm(torch.cat([self.embedding(words), features], -1))
        return torch.log_softmax(self.tags(h), -1)


class PackedTagger(BiLSTMTagger):
    """The same over sequences of their own lengths, packed."""

    def forward(self, words, features, lengths):
        x = torch.cat([self.embedding(words), features], -1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        h, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return torch.log_softmax(self.tags(h), -1)


class GRUSeq2Seq(nn.Module):
    """An encoder, a decoder that starts from its last state and attends to its states."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(6, 10, batch_first=True)
        self.embedding = nn.Embedding(15, 8)
        self.decoder = nn.GRU(8, 10, batch_first=True)
        self.score = nn.Linear(10, 10, bias=False)
        self.out = nn.Linear(20, 15)

    def forward(self, source, target):
        states, last = self.encoder(source)
        h, _ = self.decoder(self.embedding(target), last)
        weights = torch.softmax(torch.bmm(self.score(h), states.transpose(1, 2)), -1)
        return self.out(torch.cat([h, torch.bmm(weights, states)], -1))

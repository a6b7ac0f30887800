"""A word-level Transformer language model: sinusoidal positions, causal mask, annealed SGD."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.programs.text import page


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.1, max_len=200):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0).transpose(0, 1))

    def forward(self, x):
        return self.dropout(x + self.pe[: x.size(0), :])


class TransformerModel(nn.Transformer):
    def __init__(self, ntoken, ninp, nhead, nhid, nlayers, dropout=0.1):
        super().__init__(
            d_model=ninp, nhead=nhead, dim_feedforward=nhid, num_encoder_layers=nlayers
        )
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        self.input_emb = nn.Embedding(ntoken, ninp)
        self.ninp = ninp
        self.decoder = nn.Linear(ninp, ntoken)
        nn.init.uniform_(self.input_emb.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def _generate_square_subsequent_mask(self, sz):
        return torch.log(torch.tril(torch.ones(sz, sz)))

    def forward(self, src):
        mask = self._generate_square_subsequent_mask(len(src)).to(src.device)
        src = self.input_emb(src) * math.sqrt(self.ninp)
        src = self.pos_encoder(src)
        output = self.encoder(src, mask=mask)
        return F.log_softmax(self.decoder(output), dim=-1)


def main():
    torch.manual_seed(1111)
    words = page().split()
    index = {word: i for i, word in enumerate(sorted(set(words)))}
    corpus = torch.tensor([index[word] for word in words])
    train, val = (part[: len(part) // 8 * 8].view(8, -1).t() for part in corpus.split(2800))
    model = TransformerModel(len(index), 32, 2, 64, 2, dropout=0.1)
    criterion = nn.NLLLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    bptt = 20
    for _epoch in range(10):
        model.train()
        for i in range(0, len(train) - 1 - bptt, bptt):
            model.zero_grad()
            output = model(train[i : i + bptt]).view(-1, len(index))
            loss = criterion(output, train[i + 1 : i + 1 + bptt].reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(val[:-1]).view(-1, len(index))
        loss = criterion(output, val[1:].reshape(-1)).item()
    return model, (val[:-1],), {"loss": loss}

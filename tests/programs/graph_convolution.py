"""Graph convolution: three communities, few labelled nodes."""

import torch
import torch.nn.functional as F
from torch import nn, optim


class GraphConv(nn.Module):
    def __init__(self, input_dim, output_dim):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(input_dim, output_dim))
        self.bias = nn.Parameter(torch.zeros(output_dim))
        nn.init.xavier_normal_(self.kernel)

    def forward(self, features, adjacency):
        return torch.mm(adjacency, torch.mm(features, self.kernel)) + self.bias


class GCN(nn.Module):
    def __init__(self, features, hidden, classes):
        super().__init__()
        self.gc1 = GraphConv(features, hidden)
        self.gc2 = GraphConv(hidden, classes)
        self.dropout = nn.Dropout(0.3)

    def forward(self, features, adjacency):
        x = self.dropout(F.relu(self.gc1(features, adjacency)))
        return F.log_softmax(self.gc2(x, adjacency), dim=1)


def communities(nodes=150, classes=3):
    labels = torch.arange(nodes) % classes
    same = labels[:, None] == labels[None, :]
    edges = torch.rand(nodes, nodes) < torch.where(same, 0.2, 0.02)
    edges = torch.triu(edges, diagonal=1).float()
    adjacency = edges + edges.t() + torch.eye(nodes)
    degree = adjacency.sum(1).pow(-0.5)
    features = F.one_hot(labels, classes).float() + 1.5 * torch.randn(nodes, classes)
    return features, degree[:, None] * adjacency * degree[None, :], labels


def main():
    torch.manual_seed(42)
    features, adjacency, labels = communities()
    order = torch.randperm(len(labels))
    train, test = order[:30], order[30:]
    model = GCN(3, 16, 3)
    optimizer = optim.Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
    for _ in range(150):
        model.train()
        optimizer.zero_grad()
        output = model(features, adjacency)
        loss = F.nll_loss(output[train], labels[train])
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(features, adjacency)
        accuracy = (output[test].argmax(1) == labels[test]).float().mean()
    return model, (features, adjacency), {"accuracy": accuracy.item()}

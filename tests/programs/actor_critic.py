"""Actor and critic balance a pole on a cart: a policy gradient with a learned baseline."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

from tests.programs.cart_pole import CartPole

GAMMA = 0.95


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 64)
        self.action_head = nn.Linear(64, 2)
        self.value_head = nn.Linear(64, 1)
        self.saved_actions = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        action_prob = F.softmax(self.action_head(x), dim=-1)
        state_values = self.value_head(x)
        return action_prob, state_values


def select_action(model, state):
    state = torch.tensor(state).float()
    probs, state_value = model(state)
    m = Categorical(probs)
    action = m.sample()
    model.saved_actions.append((m.log_prob(action), state_value))
    return action.item()


def finish_episode(model, optimizer):
    R = 0
    policy_losses = []
    value_losses = []
    returns = []
    for r in model.rewards[::-1]:
        R = r + GAMMA * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + 1e-6)
    for (log_prob, value), R in zip(model.saved_actions, returns, strict=True):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]


def evaluate(model, env, episodes=5):
    """Mean number of steps of the greedy policy."""
    steps = 0
    with torch.no_grad():
        for _ in range(episodes):
            state = env.reset()
            for _t in range(100):
                probs, _ = model(torch.tensor(state))
                state, _, done = env.step(probs.argmax().item())
                steps += 1
                if done:
                    break
    return steps / episodes


def main():
    torch.manual_seed(543)
    env = CartPole(random.Random(543))
    model = Policy()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _i_episode in range(110):
        state = env.reset()
        for _t in range(100):
            action = select_action(model, state)
            state, reward, done = env.step(action)
            model.rewards.append(reward)
            if done:
                break
        finish_episode(model, optimizer)
    return model, (torch.tensor([env.reset(), env.reset()]),), {"steps": evaluate(model, env)}

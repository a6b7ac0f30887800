"""Deep Q-learning on the pole: replay, a target network that follows, an epsilon that falls."""

import math
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

from tests.programs.cart_pole import CartPole

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))
BATCH_SIZE, GAMMA, TAU = 32, 0.98, 0.02


class ReplayMemory:
    def __init__(self, capacity, draw):
        self.memory = deque(maxlen=capacity)
        self.draw = draw

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return self.draw.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 64)
        self.layer2 = nn.Linear(64, 64)
        self.layer3 = nn.Linear(64, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


def optimize_model(memory, policy_net, target_net, optimizer):
    if len(memory) < BATCH_SIZE:
        return
    batch = Transition(*zip(*memory.sample(BATCH_SIZE), strict=True))
    non_final_mask = torch.tensor([s is not None for s in batch.next_state], dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch = torch.cat(batch.state)
    action_batch = torch.cat(batch.action)
    reward_batch = torch.cat(batch.reward)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(BATCH_SIZE)
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
    expected_state_action_values = (next_state_values * GAMMA) + reward_batch
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected_state_action_values.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


def main():
    torch.manual_seed(3)
    draw = random.Random(3)
    env = CartPole(draw)
    policy_net, target_net = DQN(4, 2), DQN(4, 2)
    optimizer = optim.AdamW(policy_net.parameters(), lr=2e-3, amsgrad=True)
    target_net.load_state_dict(policy_net.state_dict())
    memory = ReplayMemory(5000, draw)
    steps_done = 0
    while steps_done < 1500:
        state = torch.tensor(env.reset(), dtype=torch.float32).unsqueeze(0)
        for _t in range(100):
            threshold = 0.05 + 0.85 * math.exp(-steps_done / 300)
            steps_done += 1
            if draw.random() > threshold:
                with torch.no_grad():
                    action = policy_net(state).max(1).indices.view(1, 1)
            else:
                action = torch.tensor([[draw.randrange(2)]], dtype=torch.long)
            observation, reward, done = env.step(action.item())
            reward = torch.tensor([reward])
            next_state = None
            if not done:
                next_state = torch.tensor(observation, dtype=torch.float32).unsqueeze(0)
            memory.push(state, action, next_state, reward)
            state = next_state
            optimize_model(memory, policy_net, target_net, optimizer)
            target_state, policy_state = target_net.state_dict(), policy_net.state_dict()
            for key in policy_state:
                target_state[key] = policy_state[key] * TAU + target_state[key] * (1 - TAU)
            target_net.load_state_dict(target_state)
            if done:
                break
    steps = 0
    with torch.no_grad():
        for _ in range(5):
            observation, done = env.reset(), False
            for _t in range(100):
                values = target_net(torch.tensor(observation))
                observation, _, done = env.step(values.argmax().item())
                steps += 1
                if done:
                    break
    states = torch.tensor([env.reset() for _ in range(3)])
    return target_net, (states,), {"steps": steps / 5}

"""A pole on a cart that is pushed left or right (Barto, Sutton and Anderson, 1983)."""

import math


class CartPole:
    def __init__(self, draw):
        self.draw = draw
        self.state = None

    def reset(self):
        self.state = [self.draw.uniform(-0.05, 0.05) for _ in range(4)]
        return list(self.state)

    def step(self, action):
        """(state, reward, done) after a push of 0.02 s."""
        x, speed, angle, turn = self.state
        force = 10.0 if action == 1 else -10.0
        sin, cos = math.sin(angle), math.cos(angle)
        pushed = (force + 0.05 * turn * turn * sin) / 1.1
        angular = (9.8 * sin - cos * pushed) / (0.5 * (4 / 3 - 0.1 * cos * cos / 1.1))
        linear = pushed - 0.05 * angular * cos / 1.1
        x, speed = x + 0.02 * speed, speed + 0.02 * linear
        angle, turn = angle + 0.02 * turn, turn + 0.02 * angular
        self.state = [x, speed, angle, turn]
        done = abs(x) > 2.4 or abs(angle) > 12 * math.pi / 180
        return list(self.state), 1.0, done

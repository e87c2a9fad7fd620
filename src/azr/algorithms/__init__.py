"""How a step's rewards become advantages: one small class per algorithm, and what they are made of."""

"""Who updates the weights. `base.py` is the contract of a learner."""

"""Who samples. `base.py` is the contract of a generator."""

"""A person in one of the two seats of self-play."""

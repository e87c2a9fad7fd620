"""A run for people, from its logs: `azr report` and `azr explain`."""

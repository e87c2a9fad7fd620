"""A run in progress, in the terminal or in a browser on this machine. It only reads."""

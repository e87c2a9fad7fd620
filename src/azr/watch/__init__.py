"""A run while it goes on: in the terminal, or in a browser from a server on this machine. It only reads."""

"""The training loop and what surrounds it: how parts are built, the screen, trackers."""

"""Runs of one preset under several settings and seeds, side by side, and one page that compares them."""

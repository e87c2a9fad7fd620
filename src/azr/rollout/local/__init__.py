"""Sampling in this process, from a Hugging Face model."""

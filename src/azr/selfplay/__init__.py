"""Algorithm 1 of the paper (arXiv 2505.03335) and its equations."""

"""Trackers: TensorBoard, Weights & Biases, Trackio. They follow a run; its own files are written in any case."""

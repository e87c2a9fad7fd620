"""What leaves a run: its model as a plain Hugging Face folder, its tasks and rollouts as a dataset."""

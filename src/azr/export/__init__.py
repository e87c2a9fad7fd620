"""Export from a run: its model as a Hugging Face folder, its tasks and rollouts as a dataset."""

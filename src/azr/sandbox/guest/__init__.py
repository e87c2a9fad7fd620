"""What runs beside the model's code. Standard library only."""

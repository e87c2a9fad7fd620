"""What runs beside the model's code, in the jail and in containers. Its modules import the standard library only."""

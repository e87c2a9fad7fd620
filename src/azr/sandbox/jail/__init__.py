"""What shuts a zygote in. Standard library only."""

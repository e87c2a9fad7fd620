"""What jails a zygote. Its modules import the standard library and `guest` only."""

"""`azr plan`: whether a run fits into a machine's memory, and how long it takes."""

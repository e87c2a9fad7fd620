"""The host's side of the local sandbox: which process gets the next job, and what came of it."""

"""Several processes that learn together, on one machine or on many (docs/many-gpus.md)."""

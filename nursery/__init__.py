"""How the small models that ship are made: programs, documents, tokenizer, training. `python -m nursery` runs it."""

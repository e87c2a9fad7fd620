"""A small base model built for length: it executes programs of up to three statements, and self-play can go on."""

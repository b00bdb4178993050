"""What is at the source: what moves, what changed, and the bytes of it."""

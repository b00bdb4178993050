"""How the bytes get to the destination."""

"""How an index becomes pixels."""

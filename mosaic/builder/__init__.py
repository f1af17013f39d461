"""How a mosaic is made: inputs to items, items to a whole catalog."""

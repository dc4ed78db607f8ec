"""How computed rows run: packed into one matrix, with attention, products and what they cost."""

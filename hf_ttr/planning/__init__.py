"""Plans: which tokens are computed, out of the embeddings and the settings alone."""

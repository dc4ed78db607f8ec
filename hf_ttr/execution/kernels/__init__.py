"""Attention of packed rows on CUDA devices; everything here has a plain torch equivalent for other devices."""

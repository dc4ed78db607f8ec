"""Reuse on a GPU, against dense models that are compiled and captured in CUDA graphs: `python -m benchmarks gpu`."""

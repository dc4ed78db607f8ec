"""Benchmarks of hf_ttr: fidelity on real video, and speed. Not part of the wheel; see README.md."""

"""Timings and memory of networks, for the tools and benchmarks that report them."""

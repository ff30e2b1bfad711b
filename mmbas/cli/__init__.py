"""Code that the command lines in ``tools/`` and ``benchmarks/`` share."""

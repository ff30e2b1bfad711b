"""Batch-shaping: the distribution of each gate over a batch is drawn to a prior."""

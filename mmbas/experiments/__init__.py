"""Many training runs as one plan: what they are, running them, the tables of their results."""

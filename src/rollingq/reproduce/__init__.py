"""The paper's tables and figures: what it prints, what has to be run for it, and ours beside it."""

"""Infer: the distribution f_a of X_a and the set E of X_e from observed hours."""

"""Decide: what an uncertainty model and a simulator say of outputs and designs."""

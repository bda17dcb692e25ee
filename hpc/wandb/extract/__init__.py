"""Runs in Weights & Biases, back into results: a sweep directory that is aggregated like any other.

Imports: hpc.wandb and what lies below it.
"""

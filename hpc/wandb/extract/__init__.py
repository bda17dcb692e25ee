"""Runs in Weights & Biases back into results.

Imports: hpc.wandb and what that may import.
"""

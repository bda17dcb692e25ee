"""Holdfast: sweeps of small models on Slurm, from a configuration to results that are written once.

Imports: training.contract; aggregate and the rest of training only in functions; tests/test_imports.py has the order.
"""

"""A sweep from Python: what `holdfast` exports for notebooks, over the functions that the command line calls.

Imports: everything of hpc but hpc.cli.
"""

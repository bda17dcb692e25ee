"""What a sweep is: cells, axes, the grid, the states a cell can be in, what an outcome holds. No files.

Imports: hpc.checkout.
"""

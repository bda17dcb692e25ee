"""Global Workspaces, many rows at once.

Imports: training.shapes, training.contract.
"""

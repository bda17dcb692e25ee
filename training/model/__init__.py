"""The Global Workspace of many cells at once: settings, layout, forward and backward pass, losses, metrics, state.

Imports: training.shapes, training.contract.
"""

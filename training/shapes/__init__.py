"""The SimpleShapes data with XOR targets.

Imports: nothing of ours.
"""

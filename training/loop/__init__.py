"""Who trains next, when an epoch ends, what is saved.

Imports: training.steps, training.model and what lies below them.
"""

"""Which cells train next, when an epoch ends, and what is saved: a task's cells from the first step to the last.

Imports: training.steps, training.model and what lies below them.
"""

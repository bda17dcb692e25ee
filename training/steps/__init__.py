"""Three ways to take the same step.

Imports: training.model and what lies below it.
"""

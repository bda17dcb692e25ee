"""Results to arrays: every planned cell accounted for.

Imports: aggregate.arrays, aggregate.together.
"""

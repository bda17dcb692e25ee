"""The study of a sweep: summaries, curves, contrasts, claims, comparisons, what is missing and how reliable it is.

Imports: aggregate.wording, aggregate.reading, aggregate.stats, aggregate.arrays.
"""

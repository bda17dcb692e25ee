"""A study as one HTML page for people.

Imports: aggregate.figures, aggregate.described, aggregate.analysis and what lies below them.
"""

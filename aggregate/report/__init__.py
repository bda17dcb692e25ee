"""A study as one HTML page for people.

Imports: aggregate.figures, aggregate.analysis and what lies below them.
"""

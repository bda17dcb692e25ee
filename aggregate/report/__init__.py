"""A study as one HTML page for people.

Imports: aggregate.answers, aggregate.figures, aggregate.described, aggregate.analysis and what lies below them.
"""

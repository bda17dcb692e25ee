"""A study as one HTML page for people.

Imports: aggregate.answers, aggregate.figures, aggregate.two_sweeps and what lies below them.
"""

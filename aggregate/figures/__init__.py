"""A study as pictures; computes nothing.

Imports: aggregate.analysis and what lies below it.
"""

"""A study as files for programs.

Imports: aggregate.analysis and what lies below it.
"""

"""A study as files for programs.

Imports: aggregate.described, aggregate.analysis and what lies below them.
"""

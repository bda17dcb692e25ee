"""A study as files: JSON and Parquet for programs, tables for papers.

Imports: aggregate.described, aggregate.analysis and what lies below them.
"""

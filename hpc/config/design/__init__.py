"""Levels of factors as a configuration writes them, and what it says of their combinations: left out, added, tied.

Imports: hpc.config.schema, hpc.sweep and what lies below them.
"""

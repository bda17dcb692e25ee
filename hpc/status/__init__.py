"""What is known of a sweep or a cell now, and why a task ended.

Imports: hpc.node, hpc.submission and what lies below them.
"""

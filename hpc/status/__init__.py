"""What is known of a sweep or a cell now, and why a task ended.

Imports: hpc.submission, hpc.planning and what lies below them.
"""

"""Numbers to intervals, tests and bands. No files, no sweep.

Imports: aggregate.arrays.
"""

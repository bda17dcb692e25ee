"""On the search path of processes that a trainer starts, if the trainer's file has the name of another module.

Imports: nothing.
"""

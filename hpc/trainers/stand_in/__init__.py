"""On the search path of processes that a trainer starts, if its file shares the name of another module.

Imports: nothing.
"""

"""The command line: one module per command, with its options, its help, its examples and what it prints.

Imports: everything else; the logic lies below.
"""

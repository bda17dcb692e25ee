"""The command line: one module a command, with its options, its help, its example and what it prints.

Imports: everything else; the logic lies below.
"""

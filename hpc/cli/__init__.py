"""The command line: one module per command, with its options, its help, its examples and what it prints; beside
them what commands have in common (app, command, options, filters, notify, endings, surroundings, wrong_words).

Imports: everything else; the logic lies below.
"""

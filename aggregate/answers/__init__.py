"""What was found, in words: the answer to each question, how sure it is, and what a reader must know beside it.

Imports: aggregate.described, aggregate.analysis and what lies below them.
"""

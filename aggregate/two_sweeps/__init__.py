"""Two sweeps side by side: differences of the conditions that both have, and what differs in how they were made.

Imports: aggregate.analysis and what lies below it.
"""

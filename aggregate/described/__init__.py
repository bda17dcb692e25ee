"""What the runs show beside the claims: described after the fact, tested by nothing.

Imports: aggregate.analysis and what lies below it.
"""

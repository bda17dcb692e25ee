"""What the runs show beside the claims: described after the fact, tested by nothing. Exploratory tests are in analysis.

Imports: aggregate.analysis and what lies below it.
"""

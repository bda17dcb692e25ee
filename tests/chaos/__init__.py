"""Crash safety put to the proof: real faults in the real task code, counted; see docs/reliability.md."""

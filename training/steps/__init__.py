"""Ways to take the same training step: in torch, as a CUDA graph with Triton's updates, compiled from C.

Imports: training.model and what lies below it.
"""

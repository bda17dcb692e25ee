"""Three ways to take the same training step: in torch, as a CUDA graph, compiled from C.

Imports: training.model and what lies below it.
"""

"""The SimpleShapes data set with XOR targets: its distribution, its images and latents, its files.

Imports: nothing of ours.
"""

"""Pipelines as Python objects, for scripts: the encoding, denoising and decoding that recipes run, called directly.

Nothing is computed here that a recipe's run does not compute in the same code; no folder is written, no manifest kept.
"""

"""Encoders as torch modules, their pooling heads, and the folders they live in."""

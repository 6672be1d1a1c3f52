"""Operators that run Segmind models."""

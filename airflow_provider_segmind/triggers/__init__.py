"""Triggers that wait for Segmind in the triggerer."""

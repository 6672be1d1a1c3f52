"""Sensors that wait for Segmind."""

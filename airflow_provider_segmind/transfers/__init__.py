"""Transfers of Segmind outputs into storage."""

"""Attention of queries to feature levels."""

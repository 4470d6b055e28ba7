"""Necks: maps of a backbone to feature levels."""

"""Small functions that every layer may use."""

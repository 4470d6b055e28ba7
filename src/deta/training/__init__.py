"""The training loop around the detector, and what happens beside it."""

"""Detectors of two stages whose second one looks at regions of the image."""

"""Training, evaluation and tracking around the detector."""

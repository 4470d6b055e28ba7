"""Pure tensor functions on boxes, overlaps and logits."""

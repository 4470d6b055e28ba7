"""COCO-format data: reading, checking, augmenting and batching."""

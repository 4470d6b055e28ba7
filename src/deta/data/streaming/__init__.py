"""Shards of images and annotations in a folder or an object store."""

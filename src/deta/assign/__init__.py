"""Label assignment: which prediction answers for which object."""

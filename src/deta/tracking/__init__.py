"""What a run keeps of its metrics and its surroundings, and tells others."""

"""Loss terms and the criterion that applies an assignment."""

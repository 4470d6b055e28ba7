"""What annotations, rules and runs show, without a network."""

"""From a configuration to objects, and what a configuration out of a file may build."""

"""Pictures and how charts look."""

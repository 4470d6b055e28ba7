"""The commands of the ``deta`` tool; the only place that sees a configuration."""

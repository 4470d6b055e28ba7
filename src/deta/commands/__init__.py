"""The commands of the ``deta`` tool, a file for each."""

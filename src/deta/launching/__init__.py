"""Starting trainings, here or on a cluster, and what each leaves in writing."""

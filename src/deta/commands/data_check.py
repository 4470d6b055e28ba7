"""``deta data check``: check annotations and decode every image."""

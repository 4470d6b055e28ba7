"""Steps and files that an older state of the code made, against which a newer one is held."""

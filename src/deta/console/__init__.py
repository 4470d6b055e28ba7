"""How the words of a command line become a configuration, and how commands talk to the terminal."""

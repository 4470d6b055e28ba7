"""The options of every command."""

from collections.abc import Mapping

OPTIONS: Mapping[str, tuple[str, str]] = {
    "--help": ("-h", "the main keys; all: every key and choice; another word: those with it in them"),
    "--hydra-help": ("", "Hydra's help"),
    "--cfg": ("-c", "print the configuration"),
    "--resolve": ("", "with --cfg: with all references resolved"),
    "--package": ("-p", "with --cfg: this part alone"),
    "--run": ("-r", "run, which is the default"),
    "--multirun": ("-m", "sweep over all values with commas"),
    "--config-dir": ("-cd", "a folder of configurations of your own"),
    "--config-name": ("-cn", "another configuration than that of the command"),
    "--info": ("-i", "how the configuration came about"),
}
"""Each with its short form and what it does."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    "--config-dir": (),
    "--config-name": (),
    "--package": (),
}
"""Options whose value is the next word, and its choices where there are any."""
WITH_VALUE = tuple(form for name in VALUES for form in (name, OPTIONS[name][0]))

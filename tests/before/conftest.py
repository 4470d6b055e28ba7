"""The commands run as in their own tests: generated data in a folder of the session, no login anywhere."""

from tests.commands.conftest import environment, quiet_machine, workplace

__all__ = ["environment", "quiet_machine", "workplace"]

"""Fixtures of the tests of tracking."""

from tests.training.conftest import cache as cache

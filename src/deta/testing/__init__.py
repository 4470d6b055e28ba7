"""Checks for parts of your own: what every part of its kind must do, on ordinary and on hostile input.

The test of a part is its arguments::

    def test_the_rule_does_what_every_rule_must() -> None:
        check_assigner(NearestAssigner(n=4))

Every check is made of properties, functions of the module beside it that are named after what they require. A failure
is an ``AssertionError`` that names the property and the input; what a part does not promise is named in ``without``.
"""

from deta.testing.assigners import check_assigner
from deta.testing.groups import check_group
from deta.testing.sources import check_source
from deta.testing.systems import check_system
from deta.testing.terms import check_term

__all__ = ["check_assigner", "check_group", "check_source", "check_system", "check_term"]

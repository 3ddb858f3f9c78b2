"""Where this suite submits its evaluations."""

from tests.utils.evaluations import api_session

__all__ = ["api_session"]

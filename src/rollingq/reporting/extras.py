"""See rollingq.extras."""

from rollingq.extras import lab_extra

__all__ = ["lab_extra"]

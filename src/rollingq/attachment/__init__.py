"""How a rotation enters a model that somebody else wrote."""

from rollingq.attachment.attach import attach, attachments, detach, fold

__all__ = ["attach", "attachments", "detach", "fold"]

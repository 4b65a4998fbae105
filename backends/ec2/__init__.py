"""Amazon EC2 and whatever speaks its API."""

from backends.ec2.driver import Driver

__all__ = ["Driver"]

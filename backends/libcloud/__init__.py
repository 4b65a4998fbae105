"""Every cloud that apache-libcloud reaches."""

from backends.libcloud.driver import Driver

__all__ = ["Driver"]

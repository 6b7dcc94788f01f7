"""What a device offers: memory, threads, executors. One file per device, found by its name; see `Platform`."""

from octavo.platforms._platform import Platform, open_platform, platform_name

__all__ = ["Platform", "open_platform", "platform_name"]

"""Fieldgate: a gateway that makes every reading durable, signs it on the device, and proves it years later."""

__version__ = "0.1.0"

"""Devices that are not there: what `fieldgate demo` listens to."""

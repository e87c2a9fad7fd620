"""Sandboxes other than the local one."""

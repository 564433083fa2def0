"""Digests of the log on chains that others run: kinds of chains, and the task that keeps one of them told."""

"""The upstream node: its own program. It shares only what checks (core, verify, keys, httpsig) with the gateway."""

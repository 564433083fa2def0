"""Drivers: one module a southbound protocol. They know nothing of the gateway; `api` is all they share with it."""

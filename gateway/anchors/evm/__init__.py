"""Chains of the Ethereum kind, through a server's JSON-RPC: BSN's Spartan and Wuhan chains, and any other."""

"""Pure decoders: bytes in, samples or a typed reject out. No clock, no input or output."""

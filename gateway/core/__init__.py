"""The formats: bytes in, values or a FormatError out. No input or output, no clock, no randomness."""

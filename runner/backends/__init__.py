"""Where the arithmetic runs. Each backend is one module behind the protocol of `base`; nothing is imported here."""

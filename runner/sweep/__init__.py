"""A sweep: many jobs planned together, run warm, and what is made from their pictures."""

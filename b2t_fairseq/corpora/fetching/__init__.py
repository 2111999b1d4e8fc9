"""Getting large corpora: downloads that resume where they stopped, safe extraction, atomic steps, and their record."""

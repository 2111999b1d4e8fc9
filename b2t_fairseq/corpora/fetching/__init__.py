"""Getting large corpora: downloads that go on where they stopped, safe extraction, atomic steps, and their record."""

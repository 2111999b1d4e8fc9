"""What fairseq lacks and our methods or users need; one file each."""

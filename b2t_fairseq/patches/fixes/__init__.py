"""What is broken in fairseq on a current Python, torch and numpy; one file each."""

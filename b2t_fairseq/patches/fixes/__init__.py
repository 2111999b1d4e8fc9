"""Patches that repair fairseq on a current Python, torch and numpy; one file each."""

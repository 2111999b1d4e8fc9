"""Patches that give fairseq what our methods and users need; one file each."""

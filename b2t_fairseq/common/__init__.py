"""The ground floor: mistakes, files, processes, command lines. Nothing here knows fairseq or a model."""

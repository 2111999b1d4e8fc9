"""Corpora as plain text. Nothing in here knows fairseq or torch; binarising the text is somebody else's business."""

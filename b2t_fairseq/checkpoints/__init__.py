"""What a checkpoint says of itself: signature, vocabulary, arguments; and how one is loaded safely."""

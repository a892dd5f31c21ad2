"""What is restored from: datasets or their stand-ins, checked by checksum, and the batches drawn from them."""

"""Sends recorded events over HTTP, as a product would: in batches, several at once, again after a failure."""

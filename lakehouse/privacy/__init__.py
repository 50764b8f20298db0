"""Personal data: encrypted per customer before it is written anywhere, erased by losing the key."""

"""Damaged inputs by the thousand: each is read, or refused in a sentence."""

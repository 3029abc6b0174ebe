"""Preprocessing that training and control share: the same object, saved with the model, statistics included."""

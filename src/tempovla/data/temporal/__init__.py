"""Samples of now and of k control steps later: which steps a robot type reads, named mixtures, and the view by keys."""

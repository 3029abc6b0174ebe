"""Simulators behind Gymnasium's interfaces, their scripted experts and their demonstrations."""

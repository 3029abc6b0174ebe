"""Shared blocks: attention, Mamba, MLPs, embeddings."""

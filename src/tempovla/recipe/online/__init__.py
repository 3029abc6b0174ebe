"""Learning online: a policy acts in a simulator, and what it meets with becomes batches."""

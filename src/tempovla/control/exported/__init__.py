"""Files that `tempovla export` wrote: what lies beside them, what they may hold, and how they are run."""

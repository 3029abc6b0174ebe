"""Files that `tempovla export` wrote: their sidecars, checks of their contents, and runners."""

"""The disk: paths that stay inside their folder, files that appear whole, one writer at a time, text and JSON.

This room knows nothing of robots and imports no other room. Whatever reads a name out of a file that somebody else
wrote, or writes something that a kill must not leave half done, does it through these modules.
"""

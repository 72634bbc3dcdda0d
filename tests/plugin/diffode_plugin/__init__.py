"""Parts of another package, which diffode finds by its entry points."""

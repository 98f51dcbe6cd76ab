"""A saved result to one self-contained offline HTML file, and the Jupyter representations."""

"""Jupyter notebooks: their code as one Python module, and changes to it as changes to the file."""

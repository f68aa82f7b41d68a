"""Lets the rules beside this file be found by every Python process that has this folder on its path.

They stand in for real rules where a face is tested: they flag a word, so a test decides what is flagged.
"""

import os

import torchmemlint.rules

torchmemlint.rules.__path__.append(os.path.dirname(__file__))

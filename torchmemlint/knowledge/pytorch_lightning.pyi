from lightning import *

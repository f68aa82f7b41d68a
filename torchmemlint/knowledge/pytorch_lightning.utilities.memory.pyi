from lightning.pytorch.utilities.memory import *

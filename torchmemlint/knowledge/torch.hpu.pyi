from torch.accelerator import *

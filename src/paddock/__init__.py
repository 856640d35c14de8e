"""Paddock: confidential deep learning for PaddlePaddle."""

__version__ = "0.1.0"

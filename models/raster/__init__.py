"""Rasterisers behind one contract: plain, differentiable on the CPU, differentiable on CUDA.

It may import ``formats`` and ``mesh``. It knows neither models nor captures.
"""

"""How compiled kernels may treat floating-point numbers."""

#: For ``njit(fastmath=...)``: sums may be reordered and fused; infinities and not-a-number keep their meaning.
SAFE_MATH = {"contract", "reassoc", "arcp", "nsz"}

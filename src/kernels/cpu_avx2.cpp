// The CPU kernels for AVX2 and FMA.
#define HONE_KERNELS_LEVEL avx2
#define HONE_KERNELS_TABLE avx2_kernels
#include "kernels/cpu_kernels.inl"

// The CPU kernels for AVX-512.
#define HONE_KERNELS_LEVEL avx512
#define HONE_KERNELS_TABLE avx512_kernels
#include "kernels/cpu_kernels.inl"

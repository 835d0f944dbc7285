/* How the kernels are compiled: for the widest vectors of the machine that they are loaded on. */
#ifndef SSFR_VECTORS_H
#define SSFR_VECTORS_H

/* One binary for every machine: the loader picks the widest vectors that the processor has. */
#if defined(WIDEST_VECTORS) /* by who builds: tests under sanitizers need no more than one target */
#elif defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define WIDEST_VECTORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST_VECTORS
#endif

/* Into the function that has the attribute above: only then is this code compiled for each target. */
#define INLINED static inline __attribute__((always_inline))

enum { CACHE_LINE = 64 };

#endif

"""Which instruction levels this processor and its operating system can run."""

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(_M_X64)
    static int farfield_runs_v3(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
            && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    }
    static int farfield_runs_v4(void) {
        return farfield_runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl");
    }
    static int farfield_runs_dotprod(void) { return 0; }
    #elif defined(__aarch64__) && defined(__linux__)
    #include <sys/auxv.h>
    static int farfield_runs_v3(void) { return 0; }
    static int farfield_runs_v4(void) { return 0; }
    static int farfield_runs_dotprod(void) { return (getauxval(AT_HWCAP) >> 20) & 1; }  /* HWCAP_ASIMDDP */
    #else
    static int farfield_runs_v3(void) { return 0; }
    static int farfield_runs_v4(void) { return 0; }
    static int farfield_runs_dotprod(void) { return 0; }
    #endif
    """
    bint farfield_runs_v3() nogil
    bint farfield_runs_v4() nogil
    bint farfield_runs_dotprod() nogil


def runs(str level):
    """Whether this processor runs code built for `level` (`base`, `v3`, `v4`, `neon`, `dotprod`, `checked`)."""
    if level == "v3":
        return bool(farfield_runs_v3())
    if level == "v4":
        return bool(farfield_runs_v4())
    if level == "dotprod":
        return bool(farfield_runs_dotprod())
    return True

"""The real FFT of fft.pxd as an object for Python, batched."""

import numpy as np

from farfield.kernels import _boundary

from farfield.kernels.fft cimport Plan, plan_free, plan_new, real_forward, real_inverse
from libc.stdlib cimport free, malloc


cdef class RealFFT:
    """Real FFT of a power-of-two size from 64 to 2048, float32, 120 dB or better to the exact one.

    size: points. batch: how many signals a call transforms, each contiguous (microphones, partitions).
    TypeError, ValueError: a size or batch out of range. Source: see fft.pxd.
    """

    cdef Plan *plan
    cdef float *memory  # work, then one spectrum's real and imaginary parts
    cdef readonly int size
    cdef readonly int batch

    def __cinit__(self, size, batch=1):
        self.size = _boundary.count("size", size, 64, 2048)
        self.batch = _boundary.count("batch", batch, 1, 1 << 20)
        if self.size & (self.size - 1):
            raise ValueError(f"size: got {size}, wanted a power of two from 64 to 2048")
        self.plan = plan_new(self.size)
        self.memory = <float *> malloc((3 * self.size + 2) * sizeof(float))
        if self.plan == NULL or self.memory == NULL:
            raise MemoryError("RealFFT: no memory for its tables")

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.memory)

    def forward(self, x, out=None):
        """Spectra, complex64 (batch, size/2 + 1), of x, float32 (batch, size). out: memory for them, or None."""
        cdef const float[:, ::1] given = _boundary.array("x", x, np.float32, (self.batch, self.size))
        out = _boundary.output("out", out, np.complex64, (self.batch, self.size // 2 + 1), x)
        cdef float complex[:, ::1] made = out
        cdef Py_ssize_t b, k, half = self.size // 2
        cdef float *re = self.memory + 2 * self.size
        cdef float *im = re + half + 1
        cdef float *to
        with nogil:
            for b in range(self.batch):
                real_forward(self.plan, &given[b, 0], re, im, self.memory)
                to = <float *> &made[b, 0]
                for k in range(half + 1):
                    to[2 * k], to[2 * k + 1] = re[k], im[k]
        return out

    def inverse(self, spectra, out=None):
        """Signals, float32 (batch, size), of spectra, complex64 (batch, size/2 + 1). out: memory for them, or None.

        The imaginary parts of the first and the last bin count as 0.
        """
        cdef const float complex[:, ::1] given = _boundary.array(
            "spectra", spectra, np.complex64, (self.batch, self.size // 2 + 1))
        out = _boundary.output("out", out, np.float32, (self.batch, self.size), spectra)
        cdef float[:, ::1] made = out
        cdef Py_ssize_t b, k, half = self.size // 2
        cdef float *re = self.memory + 2 * self.size
        cdef float *im = re + half + 1
        cdef const float *source
        with nogil:
            for b in range(self.batch):
                source = <const float *> &given[b, 0]
                for k in range(half + 1):
                    re[k], im[k] = source[2 * k], source[2 * k + 1]
                im[0] = im[half] = 0
                real_inverse(self.plan, re, im, &made[b, 0], self.memory)
        return out

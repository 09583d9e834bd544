"""The real FFT of fft.pxd as an object for Python, batched."""

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport apart, matrix, new_matrix
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
        cdef Py_ssize_t b, k, half = self.size // 2
        cdef cnp.ndarray given = matrix("x", x, cnp.NPY_FLOAT32, self.batch, self.size)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_COMPLEX64, self.batch, half + 1) if out is None else matrix(
            "out", out, cnp.NPY_COMPLEX64, self.batch, half + 1, writable=True)
        apart("out", made, given)
        cdef const float *source = <const float *> cnp.PyArray_DATA(given)
        cdef float *re = self.memory + 2 * self.size
        cdef float *im = re + half + 1
        cdef float *to = <float *> cnp.PyArray_DATA(made)
        with nogil:
            for b in range(self.batch):
                real_forward(self.plan, source + b * self.size, re, im, self.memory)
                for k in range(half + 1):
                    to[2 * k], to[2 * k + 1] = re[k], im[k]
                to += 2 * (half + 1)
        return made

    def inverse(self, spectra, out=None):
        """Signals, float32 (batch, size), of spectra, complex64 (batch, size/2 + 1). out: memory for them, or None.

        The imaginary parts of the first and the last bin count as 0.
        """
        cdef Py_ssize_t b, k, half = self.size // 2
        cdef cnp.ndarray given = matrix("spectra", spectra, cnp.NPY_COMPLEX64, self.batch, half + 1)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, self.batch, self.size) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, self.batch, self.size, writable=True)
        apart("out", made, given)
        cdef const float *source = <const float *> cnp.PyArray_DATA(given)
        cdef float *to = <float *> cnp.PyArray_DATA(made)
        cdef float *re = self.memory + 2 * self.size
        cdef float *im = re + half + 1
        with nogil:
            for b in range(self.batch):
                for k in range(half + 1):
                    re[k], im[k] = source[2 * k], source[2 * k + 1]
                im[0] = im[half] = 0
                real_inverse(self.plan, re, im, to + b * self.size, self.memory)
                source += 2 * (half + 1)
        return made

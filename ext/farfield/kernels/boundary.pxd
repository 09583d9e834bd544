# cython: language_level=3
"""The door of a kernel's process(): an array that fits costs a few comparisons; `_boundary` says what is wrong with one that does not.

kind: a numpy type number. rows, columns: what is wanted, or ANY.
"""

cimport numpy as cnp

cdef enum:
    ANY = -1


cdef inline bint wrong(Py_ssize_t got, Py_ssize_t wanted) noexcept:
    return wanted != ANY and got != wanted


cdef inline object length(Py_ssize_t wanted):
    return None if wanted == ANY else wanted


cdef inline cnp.ndarray vector(str name, object value, int kind, Py_ssize_t rows, bint writable=False):
    """`value` itself, a C-contiguous, aligned, native array (rows,); TypeError, ValueError where it is none."""
    if cnp.PyArray_Check(value) and cnp.PyArray_TYPE(value) == kind and cnp.PyArray_NDIM(value) == 1 and (
        cnp.PyArray_ISCARRAY(value) if writable else cnp.PyArray_ISCARRAY_RO(value)
    ) and not wrong(cnp.PyArray_DIM(value, 0), rows):
        return value
    from farfield.kernels import _boundary
    return _boundary.array(name, value, cnp.PyArray_DescrFromType(kind), (length(rows),), writable=writable)


cdef inline cnp.ndarray matrix(str name, object value, int kind, Py_ssize_t rows, Py_ssize_t columns, bint writable=False):
    """`value` itself, a C-contiguous, aligned, native array (rows, columns); TypeError, ValueError where it is none."""
    if cnp.PyArray_Check(value) and cnp.PyArray_TYPE(value) == kind and cnp.PyArray_NDIM(value) == 2 and (
        cnp.PyArray_ISCARRAY(value) if writable else cnp.PyArray_ISCARRAY_RO(value)
    ) and not wrong(cnp.PyArray_DIM(value, 0), rows) and not wrong(cnp.PyArray_DIM(value, 1), columns):
        return value
    from farfield.kernels import _boundary
    return _boundary.array(name, value, cnp.PyArray_DescrFromType(kind), (length(rows), length(columns)), writable=writable)


cdef inline cnp.ndarray sound(str name, object value, Py_ssize_t rows, Py_ssize_t columns):
    """`value` itself, a `matrix` of int16 or of float32."""
    whole = cnp.PyArray_Check(value) and cnp.PyArray_TYPE(value) == cnp.NPY_INT16
    return matrix(name, value, cnp.NPY_INT16 if whole else cnp.NPY_FLOAT32, rows, columns)


cdef inline cnp.ndarray new_vector(int kind, Py_ssize_t rows):
    cdef cnp.npy_intp shape = rows
    return cnp.PyArray_EMPTY(1, &shape, kind, 0)


cdef inline cnp.ndarray new_matrix(int kind, Py_ssize_t rows, Py_ssize_t columns):
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = rows, columns
    return cnp.PyArray_EMPTY(2, shape, kind, 0)


cdef inline int apart(str name, cnp.ndarray out, cnp.ndarray given) except -1:
    """ValueError where two C-contiguous arrays share memory."""
    cdef char *a = cnp.PyArray_BYTES(out)
    cdef char *b = cnp.PyArray_BYTES(given)
    if a < b + cnp.PyArray_NBYTES(given) and b < a + cnp.PyArray_NBYTES(out):
        raise ValueError(f"{name}: shares memory with an input, wanted memory of its own")
    return 0

# distutils: language = c
"""Whether the phones of a word were said, one after the other, up to the end of a stretch: best path through its spelling.

A network says at each step how likely each phone is, and a last output, the blank, that none begins (connectionist temporal
classification, Graves et al., ICML 2006). With q[t, k] its int8 logits, a spelling p[1..n] is a row of states
    p[1], blank, p[2], blank, ..., p[n]
and a path through them starts in p[1] at any step, and at each further step stays, goes on to the next state, or over a blank
to the next phone, unless that is the same phone. The step costs what its state lacks to the likeliest output,
    r[t, k] = q[t, k] - max over all j of q[t, j]           0 at most
    a[t, s] = r[t, k(s)] + max(a[t-1, s], a[t-1, s-1], a[t-1, s-2] over a blank, 0 if s is the first)
    score   = max over the spellings, and over the last `within` steps t, of a[t, last]
which is the logarithm of the path's likelihood against the best path of all over the same steps (Viterbi, 1967; as keyword
against filler in Rohlicek et al., ICASSP 1989), in the logits' unit. Softmax's denominator falls out of the difference.

Integers only: |r| is at most 255 a step, so that a[t, s] stays above -255 * MAX_STEPS, and NEVER below all of that.
"""

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, matrix
from libc.stdint cimport int8_t, int32_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef enum:
    MAX_STEPS = 1024
    MAX_PHONES = 64     # of a spelling
    MAX_SPELLINGS = 64
    NEVER = -(1 << 29)


cdef inline int32_t best_path(
    const int8_t *q, int steps, int outputs, const int32_t *most, const int32_t *phones, int count, int within, int32_t *a
) noexcept nogil:
    """One spelling's score. most: the largest logit of each step. a: room for 2 * count - 1."""
    cdef int states = 2 * count - 1, s, t
    cdef int32_t blank, best = NEVER, come
    cdef const int8_t *row
    for s in range(states):
        a[s] = NEVER
    for t in range(steps):
        row = q + t * outputs
        blank = row[outputs - 1] - most[t]
        for s in range(states - 1, -1, -1):  # from the last, so that what it reads is of the step before
            come = a[s]
            if s == 0:
                come = come if come > 0 else 0
            elif a[s - 1] > come:
                come = a[s - 1]
            if s & 1:
                a[s] = come + blank
                continue
            if s > 1 and phones[s >> 1] != phones[(s >> 1) - 1] and a[s - 2] > come:
                come = a[s - 2]
            a[s] = come + row[phones[s >> 1]] - most[t]
        if t >= steps - within and a[states - 1] > best:
            best = a[states - 1]
    return best


cdef class Spelling:
    """How well phone logits spell a word, the best of its spellings.

    spellings: 1 to 64 sequences of 1 to 64 phones, whole numbers from 0 to outputs - 2. outputs: logits a step, 2 to 1024, the
    last one of them the blank's. within: in how many of the last steps the last phone may be reached, 1 to 1024.
    TypeError, ValueError: anything else, named.
    """

    cdef readonly int outputs
    cdef readonly int within
    cdef int count
    cdef int32_t *phones    # of all spellings, one after the other
    cdef int *lengths
    cdef int32_t *state
    cdef int32_t *most

    def __cinit__(self, spellings, outputs, within):
        cdef int at = 0, n
        self.outputs = _boundary.count("outputs", outputs, 2, 1024)
        self.within = _boundary.count("within", within, 1, MAX_STEPS)
        if not isinstance(spellings, list | tuple):
            raise TypeError(f"spellings: got {type(spellings).__name__}, wanted a list of lists of phones")
        if not 1 <= len(spellings) <= MAX_SPELLINGS:
            raise ValueError(f"spellings: got {len(spellings)}, wanted 1 to {MAX_SPELLINGS}")
        for number, phones in enumerate(spellings):
            if not isinstance(phones, list | tuple):
                raise TypeError(f"spellings[{number}]: got {type(phones).__name__}, wanted a list of phones")
            if not 1 <= len(phones) <= MAX_PHONES:
                raise ValueError(f"spellings[{number}]: got {len(phones)} phones, wanted 1 to {MAX_PHONES}")
        self.count = len(spellings)
        self.lengths = <int *> malloc(self.count * sizeof(int))
        self.phones = <int32_t *> malloc(sum(map(len, spellings)) * sizeof(int32_t))
        self.state = <int32_t *> malloc(2 * MAX_PHONES * sizeof(int32_t))
        self.most = <int32_t *> malloc(MAX_STEPS * sizeof(int32_t))
        if not (self.lengths and self.phones and self.state and self.most):
            raise MemoryError("spelling: no memory for its states")
        for number, phones in enumerate(spellings):
            self.lengths[number] = len(phones)
            for n in range(self.lengths[number]):
                self.phones[at] = _boundary.count(f"spellings[{number}][{n}]", phones[n], 0, self.outputs - 2)
                at += 1

    def __dealloc__(self):
        free(self.lengths)
        free(self.phones)
        free(self.state)
        free(self.most)

    def process(self, logits):
        """The score of a stretch, in units of its logits: a whole number, at most 0; None where it is too short to spell a word.

        logits: int8 (steps, outputs), at most 1024 steps, oldest first. TypeError, ValueError: anything else, named.
        """
        cdef cnp.ndarray q = matrix("logits", logits, cnp.NPY_INT8, ANY, self.outputs)
        cdef int steps = _boundary.count("logits.shape[0]", cnp.PyArray_DIM(q, 0), 0, MAX_STEPS)
        cdef int32_t best
        with nogil:
            best = self.best(<const int8_t *> cnp.PyArray_DATA(q), steps)
        return best if best > NEVER // 2 else None

    cdef int32_t best(self, const int8_t *q, int steps) noexcept nogil:
        cdef int32_t best = NEVER, one
        cdef const int32_t *phones = self.phones
        cdef int t, k, number
        for t in range(steps):
            self.most[t] = -128
            for k in range(self.outputs):
                if q[t * self.outputs + k] > self.most[t]:
                    self.most[t] = q[t * self.outputs + k]
        for number in range(self.count):
            one = best_path(q, steps, self.outputs, self.most, phones, self.lengths[number], self.within, self.state)
            best = one if one > best else best
            phones += self.lengths[number]
        return best

"""Microphone arrays: what a plane wave and a diffuse field look like to them, and beams designed from that.

Azimuths are in degrees counter-clockwise from the x axis of the positions; elevation is 0. Spectra are those of 512-point
frames at 16 kHz: 257 bins of 31.25 Hz. Source: Bitzer, Simmer, "Superdirective microphone arrays", in Brandstein and Ward,
Microphone Arrays (2001); the white-noise-gain bound after Cox, Zeskind, Owen, IEEE Trans. ASSP 35 (1987).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATE = 16_000
FFT = 512
SPEED_OF_SOUND = 343.0
_LOADINGS = 48  # halvings of the search for the loading, which starts over 16 decades


class Array:
    """Microphones at positions_mm, float64 (microphones, 3), in millimetres.

    centre_mm: where phases are 0 (None: the mean of the positions). ValueError: another shape, or positions that are not finite.
    """

    def __init__(self, positions_mm: ArrayLike, centre_mm: ArrayLike | None = None) -> None:
        positions = np.asarray(positions_mm, np.float64)
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
            raise ValueError(f"positions_mm: got shape {positions.shape}, wanted (microphones, 3)")
        if not np.isfinite(positions).all():
            raise ValueError("positions_mm: got NaN or infinity, wanted positions in mm")
        centre = positions.mean(axis=0) if centre_mm is None else np.asarray(centre_mm, np.float64)
        self.positions_m: NDArray[np.float64] = (positions - centre) / 1000
        self.frequencies_hz: NDArray[np.float64] = np.arange(FFT // 2 + 1, dtype=np.float64) * (RATE / FFT)
        extent = np.linalg.svd((positions - positions.mean(axis=0))[:, :2] / 1000, compute_uv=True)
        self.is_line: bool = bool(len(positions) > 1 and extent.S[1] < 1e-3)
        axis = extent.Vh[0]
        self._axis_deg = float(np.degrees(np.arctan2(axis[1], axis[0])) % 180.0) if self.is_line else 0.0

    def only(self, microphones: NDArray[np.bool_]) -> "Array":
        """The array of some of its microphones, phases as before: a wave reaches each when it did."""
        return Array(self.positions_m[microphones] * 1000, (0.0, 0.0, 0.0))

    def spread(self, count: int) -> list[float]:
        """`count` azimuths: evenly over the circle, or for a line over the half plane that it can tell, ends included."""
        if not self.is_line:
            return [360.0 * k / count for k in range(count)]
        if count == 1:
            return [(self._axis_deg + 90.0) % 360.0]
        return [(self._axis_deg + 180.0 * k / (count - 1)) % 360.0 for k in range(count)]

    def mirror_deg(self, azimuth_deg: float) -> float | None:
        """The azimuth that a line array cannot tell from this one; None for other arrays."""
        return turn(2 * self._axis_deg - azimuth_deg) if self.is_line else None

    def steering_vector(self, azimuth_deg: float) -> NDArray[np.complex128]:
        """A plane wave from there at each microphone, against the array's centre: complex128 (257, microphones)."""
        angle = np.radians(azimuth_deg)
        lead_s = self.positions_m @ np.array([np.cos(angle), np.sin(angle), 0.0]) / SPEED_OF_SOUND
        return np.asarray(np.exp(2j * np.pi * self.frequencies_hz[:, None] * lead_s))

    def diffuse_coherence(self) -> NDArray[np.float64]:
        """Coherence of a spherically isotropic field: float64 (257, microphones, microphones)."""
        distance = np.linalg.norm(self.positions_m[:, None] - self.positions_m[None], axis=-1)
        return np.asarray(np.sinc(2 * self.frequencies_hz[:, None, None] * distance / SPEED_OF_SOUND))

    def delay_and_sum(self, azimuths_deg: ArrayLike) -> NDArray[np.complex64]:
        """Weights, complex64 (beams, 257, microphones), that align a plane wave from each azimuth and average."""
        beams = [np.conj(self.steering_vector(a)) / len(self.positions_m) for a in np.atleast_1d(azimuths_deg)]
        return np.ascontiguousarray(np.stack(beams), np.complex64)

    def superdirective(self, azimuths_deg: ArrayLike, white_noise_gain_db: float = -6.0) -> NDArray[np.complex64]:
        """Weights that pass a plane wave from each azimuth and least of a diffuse field.

        Per bin, the diagonal loading is the least (by bisection) with which the gain against noise that is independent
        between microphones is at least white_noise_gain_db; where even delay and sum has less, it is delay and sum.
        Returns complex64 (beams, 257, microphones).
        """
        # In the axes of the coherence's eigenvectors the loading is added to each eigenvalue, and nothing need be solved anew.
        values, axes = np.linalg.eigh(self.diffuse_coherence())
        beams = []
        for azimuth in np.atleast_1d(azimuths_deg):
            d = np.einsum("kmn,km->kn", axes, self.steering_vector(float(azimuth)))
            low, high = np.full(len(d), -12.0), np.full(len(d), 4.0)
            unloaded = self.white_noise_gain(_distortionless(values, d, 10**low)) >= white_noise_gain_db
            for _ in range(_LOADINGS):
                middle = (low + high) / 2
                enough = self.white_noise_gain(_distortionless(values, d, 10**middle)) >= white_noise_gain_db
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            best = _distortionless(values, d, 10.0 ** np.where(unloaded, -12.0, high))
            beams.append(np.einsum("kmn,kn->km", axes, best))
        return np.ascontiguousarray(np.stack(beams), np.complex64)

    def white_noise_gain(self, weights: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Gain in dB against noise that is independent between microphones, of distortionless weights (..., microphones)."""
        return np.asarray(-10 * np.log10(np.sum(np.abs(weights) ** 2, axis=-1)))

    def directivity(self, weights: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Gain in dB against a spherically isotropic field, of distortionless weights (257, microphones)."""
        power = np.einsum("km,kmn,kn->k", weights, self.diffuse_coherence(), np.conj(weights)).real
        return np.asarray(-10 * np.log10(power))


def turn(azimuth_deg: float) -> float:
    """The same azimuth, 0 or more and less than 360."""
    return azimuth_deg % 360.0 % 360.0  # the first brings what is a hair below 0 to 360 itself


def _distortionless(
    values: NDArray[np.float64], d: NDArray[np.complex128], loading: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """conj(w), w = (G + loading I)^-1 d / (d^H (G + loading I)^-1 d), per bin, in the axes where G is diagonal."""
    solved = d / (np.maximum(values, 0) + loading[:, None])
    return np.asarray(np.conj(solved / np.sum(np.conj(d) * solved, axis=-1, keepdims=True)))

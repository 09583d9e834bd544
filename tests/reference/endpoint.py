"""Where speech ends, by the definition: whole numbers, a list of all steps, nothing kept from one to the next."""


def steps(samples, index):
    """(index after the step, whether it was speech) of each whole 10 ms; samples a list of whole numbers."""
    squares = [sum(x * x for x in samples[at : at + 160]) for at in range(0, len(samples) - 159, 160)]
    levels = [sum(squares[n - 4 : n + 1]) for n in range(4, len(squares))]
    found = [(index + 160 * (n + 1), False) for n in range(min(4, len(squares)))]
    for n, level in enumerate(levels):
        quietest = min(levels[max(0, n - 399) : n + 1])
        found.append((index + 160 * (n + 5), level > 4 * quietest and level > 64 * 800))
    return found

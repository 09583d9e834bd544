"""The scorer's arithmetic in Python integers, one value at a time, as the kernel's header states it."""


def divide(value: int, power: int, ties_away: bool) -> int:
    """value / 2^power to nearest; a tie goes away from zero or up."""
    if power == 0:
        return value
    quotient, remainder = divmod(value, 1 << power)
    half = 1 << (power - 1)
    if remainder > half or (remainder == half and (value >= 0 or not ties_away)):
        return quotient + 1
    return quotient


def requantise(acc: int, multiplier: int, shift: int, ties_away: bool) -> int:
    high = divide((acc << max(shift, 0)) * multiplier, 31, ties_away=False)
    return divide(high, max(-shift, 0), ties_away)


def quantise(feature: int, quantiser: dict, zero: int) -> int:
    scaled = divide(feature * quantiser["multiplier"], quantiser["shift"], ties_away=False)
    return min(scaled + zero, 127)


class Scorer:
    """Keeps every frame that it ever saw, and looks back from the end."""

    def __init__(self, stride, quantiser, slots, layers):
        self.stride, self.quantiser, self.slots, self.layers = stride, quantiser, slots, layers
        self.reset()

    def reset(self):
        self.past = [[[s["fill"]] * s["channels"] for _ in range(s["frames"])] for s in self.slots]
        self.pending = 0

    def slot(self, index):
        return self.past[index][-self.slots[index]["frames"] :]

    def process(self, features):
        scores = []
        for frame in features.tolist():
            self.past[0].append([quantise(f, self.quantiser, self.slots[0]["zero"]) for f in frame])
            self.pending += 1
            if self.pending == self.stride:
                self.pending = 0
                scores.append(self.step())
        return scores

    def step(self):
        for slot, past in list(zip(self.slots, self.past, strict=True))[1:]:
            past.append([None] * slot["channels"])
        for layer in self.layers:
            values = self.table(layer) if layer["kind"] == "table" else self.weighted(layer)
            at = layer["target_channel"]
            self.past[layer["target"]][-1][at : at + len(values)] = values
        return self.past[self.layers[-1]["target"]][-1][0] + 128

    def window(self, layer, frames, channels):
        first = layer["source_channel"]
        return [frame[first : first + channels] for frame in self.past[layer["source"]][-frames:]]

    def table(self, layer):
        rows = layer["table"].tolist()
        (frame,) = self.window(layer, 1, len(rows))
        return [row[x + 128] for row, x in zip(rows, frame, strict=True)]

    def weighted(self, layer):
        weights = layer["weights"].tolist()
        zero_in, zero_out = self.slots[layer["source"]]["zero"], self.slots[layer["target"]]["zero"]
        if layer["kind"] == "depthwise":
            frames, channels = len(weights), len(weights[0])
            window = self.window(layer, frames, channels)
            sums = [sum(weights[t][c] * (window[t][c] - zero_in) for t in range(frames)) for c in range(channels)]
        else:
            frames, channels = len(weights[0]), len(weights[0][0])
            window = self.window(layer, frames, channels)
            sums = [
                sum(w * (x - zero_in) for row, seen in zip(one, window, strict=True) for w, x in zip(row, seen, strict=True))
                for one in weights
            ]
        made = []
        for o, total in enumerate(sums):
            acc = int(layer["bias"][o]) + total
            y = requantise(acc, int(layer["multiplier"][o]), int(layer["shift"][o]), o >= layer["away_from"]) + zero_out
            made.append(min(max(y, layer["low"]), layer["high"]))
        return made

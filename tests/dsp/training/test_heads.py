"""Heads: what they are shown, that they seek what they mistake, and that they learn."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.history import FIELD, HOP  # noqa: E402
from farfield.joint import EMBEDDINGS, WIDTH  # noqa: E402
from farfield.training import fit, heads, segments  # noqa: E402
from farfield.training.batches import Pools  # noqa: E402
from farfield.training.network import Activation  # noqa: E402
from reference.sounds import RATE, silent  # noqa: E402


class Held:
    """A pool of segments: embedding n of segment k holds `value` + n in its first value, k in its second."""

    def __init__(self, value, count=60, ends=segments.NO_WORD):
        self.heard = np.zeros((count, segments.EMBEDDED, WIDTH), np.int8)
        self.heard[:, :, 0] = value + np.arange(segments.EMBEDDED)
        self.heard[:, :, 1] = np.arange(count)[:, None]
        self.ends = np.full(count, ends, np.int32)

    def __len__(self):
        return len(self.ends)

    def embedded(self):
        return self.heard, self.ends


END = 2 * RATE


class Shown:
    """In place of a head: keeps what it is shown; in `_mine`, takes the 5th window of segments 50 to 59 most for every word."""

    def __init__(self, words):
        self.words, self.seen, self.asked = words, [], []

    def __deepcopy__(self, memo):
        return self

    def eval(self):
        return self

    def __call__(self, heard):
        windows = heard.shape[1] - EMBEDDINGS + 1
        if windows > 1:
            logits = torch.zeros(self.words, len(heard), windows)
            logits[:, :, 5] = (heard[:, 0, 1] >= 50).float()
            return logits
        self.seen.append(heard.numpy())
        self.asked.append(torch.zeros(self.words, len(heard), 1, requires_grad=True))
        return self.asked[-1]


def pools():
    return Pools([Held(-128, ends=END), Held(-90, ends=END)], [Held(-50), Held(-10)], Held(40))


def test_of_a_word_the_windows_that_have_just_heard_it_whole_are_shown():
    """Up to three embeddings late; its own output says yes, the other's no; of what is like it, only its own says no."""
    made, net = heads.HeadBatches(pools()), Shown(2)
    made.loss(net, 0.0, np.random.default_rng(0)).backward()
    (seen,), (logits,) = net.seen, net.asked
    pushed = np.sign(-logits.grad.numpy()[:, :, 0])
    newest = seen[:, -1, 0].astype(int)
    offset = (segments.WINDOWS - FIELD) % HOP
    for word, value in enumerate((-128, -90)):
        said = (newest >= value) & (newest < value + segments.EMBEDDED)
        late = 480 + 160 * (HOP * (newest[said] - value) + offset + FIELD - 1) - END
        assert said.sum() == heads._SAID and (late >= 0).all() and (late < 3 * HOP * 160).all() and len(set(late)) == 3
        assert (pushed[word, said] == 1).all() and (pushed[1 - word, said] == -1).all()
    for word, value in enumerate((-50, -10)):
        like = (newest >= value) & (newest < value + segments.EMBEDDED)
        assert like.sum() == heads._NEAR and (pushed[word, like] == -1).all() and not pushed[1 - word, like].any()
    other = newest >= 40
    assert other.sum() == heads._OTHER and (pushed[:, other] == -1).all() and len(set(newest[other])) > 10


def test_what_it_mistakes_is_sought_and_shown_again():
    """Not before a sixth of the course; then for each word windows of other segments only, the fifth of those it takes for it."""
    made, net = heads.HeadBatches(pools()), Shown(2)
    made.loss(net, 0.0, np.random.default_rng(0))
    made.loss(net, 0.17, np.random.default_rng(0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(heads, "_FEWEST", 20)
        made._mine(net)
        made.loss(net, 0.18, np.random.default_rng(0)).backward()
    without, _, seen = net.seen
    assert len(seen) == len(without) + 2 * heads._HARD
    hard = [segments_ for segments_, _ in made._hard]
    assert all((np.unique(made._heard[one][:, 0, 1]) >= 50).all() for one in hard)
    assert [at.tolist() for _, at in made._hard] == [[5] * 20] * 2
    assert not set(hard[0]) & set(range(60)) and not set(hard[1]) & set(range(60, 120)), "a word is no mistake for itself"
    pushed = np.sign(-net.asked[-1].grad.numpy()[:, :, 0])
    mistaken = (seen[:, 0, 1] >= 50) & (pushed.min(0) == -1)
    assert mistaken.sum() >= 2 * heads._HARD


def test_it_learns_a_word_and_its_ranges(monkeypatch):
    """Two words that are two directions in the embedding: each is told from the other and from noise, as int8 will have it."""
    monkeypatch.setattr(fit, "ROUND", 20)
    random = np.random.default_rng(0)

    def pool(direction, ends):
        made = Held(0, 200, ends)
        made.heard[:] = random.integers(-60, 20, made.heard.shape)
        if direction is not None:
            at = round(((END - 480) / 160 - FIELD) / HOP)
            made.heard[:, at - 3 : at + 5, 20 * direction : 20 * direction + 20] = 60
        return made

    words, others = [pool(0, END), pool(1, END)], pool(None, segments.NO_WORD)
    torch.manual_seed(0)
    course = fit.head_course(8)
    net = fit.go_over(heads.Head(2), heads.HeadBatches(Pools(words, [others, others], others)), course, None, [1], silent)
    net.eval()
    net.quantise()
    with torch.no_grad():
        found = [net(torch.from_numpy(one.heard)).amax(2).numpy() for one in (*words, others)]
    assert np.median(found[0][0]) > 2 > 0 > np.median(found[0][1]) and np.median(found[1][1]) > 2 > 0 > np.median(found[1][0])
    assert np.percentile(found[2], 90) < 0
    assert all(float(one.most) > 0 for one in net.modules() if isinstance(one, Activation))


def test_a_word_of_several_becomes_a_head_of_its_own():
    torch.manual_seed(0)
    net, some = heads.Head(3), torch.randint(-100, 60, (50, EMBEDDINGS, WIDTH), dtype=torch.int8)
    net.train()
    with torch.no_grad():
        for _ in range(10):
            net(some)
        net.eval()
        net.quantise()
        assert torch.equal(net.of_word(2)(some)[0], net(some)[2]) and net(some).std() > 0

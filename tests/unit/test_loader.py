"""What a model's calls are answered with after its labels or versions changed."""

from __future__ import annotations

import pytest

from ssfr.components.serving.server.loader import LoadedVersions
from ssfr.components.serving.server.servable import Servable


def versions(*numbers):
    return {number: Servable("toy", number, {}) for number in numbers}


def table(default, *numbers, **labels):
    return LoadedVersions(versions(*numbers), labels, default)


NOTHING = LoadedVersions()


@pytest.mark.parametrize(
    ("before", "loaded", "labels", "held", "placed", "default"),
    [
        pytest.param(NOTHING, (), {}, [], {}, None, id="nothing"),
        pytest.param(NOTHING, (1, 3), {}, [1, 3], {}, 3, id="no champion: the newest"),
        pytest.param(
            LoadedVersions(),
            (1, 2),
            {"stable": 1, "canary": 2},
            [1, 2],
            {"stable": 1, "canary": 2},
            1,
            id="both",
        ),
        pytest.param(NOTHING, (2,), {"canary": 2}, [2], {"canary": 2}, 2, id="never a champion: the canary"),
        pytest.param(
            LoadedVersions(),
            (2,),
            {"stable": 1, "canary": 2},
            [2],
            {"canary": 2},
            None,
            id="a canary never steps in",
        ),
        pytest.param(
            table(1, 1, canary=1),
            (),
            {"stable": 2},
            [1],
            {},
            1,
            id="first champion damaged: what answered stays",
        ),
        pytest.param(
            table(1, 1), (1,), {"stable": 2, "canary": 1}, [1], {"canary": 1}, 1, id="the same, with a canary"
        ),
        pytest.param(
            table(1, 1, stable=1),
            (),
            {"stable": 2},
            [1],
            {"stable": 1},
            1,
            id="new champion damaged: the old stays",
        ),
        pytest.param(
            table(1, 1, 2, stable=1, canary=2), (2,), {"stable": 2}, [2], {"stable": 2}, 2, id="a promotion"
        ),
        pytest.param(
            table(1, 1, stable=1),
            (2,),
            {"stable": 1, "canary": 2},
            [1, 2],
            {"stable": 1, "canary": 2},
            1,
            id="the champion's files are gone",
        ),
        pytest.param(table(2, 2), (), {}, [2], {}, 2, id="newest damaged: what answered stays"),
    ],
)
def test_what_answers_next(before, loaded, labels, held, placed, default):
    after = before.after(versions(*loaded), labels)
    assert (list(after.servables), after.labels, after.default) == (held, placed, default)
    for version in before.servables.keys() & after.servables.keys() - set(loaded):
        assert after.servables[version] is before.servables[version]

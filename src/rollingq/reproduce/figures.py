"""Figures 1 to 9 of the paper: what they show, in words, and the numbers of ours that answer them."""

from typing import Any

from rollingq.reproduce.entry import Entry, Part, Wanted, grid
from rollingq.reproduce.paper_parts import (
    CREMA_D,
    HMDB51,
    KINETICS,
    MOSEI_AT,
    MOSEI_VT,
    MT,
    ROLLING,
    UCF101,
    changed,
)

Row = tuple[str, dict[str, Any]]
_REPORT = "Panels with a point a sample are in the report."
_CURVES = "The curves over epochs are in the report."
_LEVEL = "The mass of the modality's tokens; the class token holds the rest."


def _rows(columns: list[Row], *rows: tuple[str, str] | tuple[str, str, int]) -> tuple[Wanted, ...]:
    """Return cells for which the paper prints nothing; a third item is the sign of RollingQ's change in its words."""
    found: list[Wanted] = []
    for title, measure, *direction in rows:
        fields: dict[str, Any] = {"measure": measure, "direction": direction[0] if direction else 0}
        found += grid(columns, (title, fields, " ".join("~" * len(columns))))
    return tuple(found)


def _both(part: Part) -> list[Row]:
    return [(title, {**fields, "part": part}) for title, fields in (MT, ROLLING)]


def _parts(*parts: Part) -> list[Row]:
    return [("{part}: " + MT[0], {**MT[1], "part": part}) for part in parts]


MASS = ("Attention on {biased}", "mass:{biased}")
MASS_OTHER = ("Attention on {other}", "mass:{other}")
NOISY = ("Attention on {biased} when it is noise", "noisy_mass:{biased}")
COSINE = ("Cosine of the query and the keys of {biased}", "cosine:{biased}")
COSINE_OTHER = ("Cosine of the query and the keys of {other}", "cosine:{other}")
NOISY_COSINE = ("Cosine with {biased} when it is noise", "noisy_cosine:{biased}")
NORM = ("Norm of the average key of {biased}", "key_norm:{biased}")
NORM_OTHER = ("Norm of the average key of {other}", "key_norm:{other}")
GRADIENT = ("Gradient norm of the {biased} encoder, mean over epochs", "gradient:{biased}")
GRADIENT_OTHER = ("Gradient norm of the {other} encoder, mean over epochs", "gradient:{other}")
TRAINED = ("Attention on {biased} in the last epoch", "last_mass:{biased}")
TRAINED_OTHER = ("Attention on {other} in the last epoch", "last_mass:{other}")

FIGURE1 = Entry(
    name="figure1",
    title="Attention stays on {biased} when it is noise, and the keys say why",
    statement="The model gives most of its attention to audio, and goes on doing so when audio is noise (c); the keys "
    "of noise still lie close to the query (d).",
    notes=("Panels a and b are drawings: there is nothing to measure.", _LEVEL, _REPORT),
    cells=_rows(_both(KINETICS)[:1], MASS, NOISY, MASS_OTHER, COSINE, COSINE_OTHER, NOISY_COSINE),
)
FIGURE2 = Entry(
    name="figure2",
    title="Average keys: cosine with the query, and norm",
    statement="A large gap between the modalities; noise in place of the biased modality is mapped to the margin, yet "
    "has a higher cosine with the query than the unbiased modality.",
    notes=(_REPORT,),
    cells=_rows(_parts(CREMA_D, MOSEI_VT), COSINE, NOISY_COSINE, COSINE_OTHER, NORM, NORM_OTHER),
)
FIGURE3 = Entry(
    name="figure3",
    title="The algorithm; ours: the geometry of the first rotation",
    statement="An illustration: the paper measures nothing in it.",
    notes=(
        "Ours are the numbers of the first rotation of a real run, where there was one: the cosines of its epoch, "
        "the angle, the share alpha of {biased} in the anchor (Eq. 11), and the cosines one epoch of learning later.",
    ),
    cells=_rows(
        _both(KINETICS)[1:],
        ("Rotations", "rotations"),
        ("Angle, degrees", "angle"),
        ("Alpha of {biased}", "weight:{biased}"),
        ("Cosine with {biased}, before", "cosine_before:{biased}"),
        ("Cosine with {biased}, an epoch later", "cosine_after:{biased}"),
        ("Cosine with {other}, before", "cosine_before:{other}"),
        ("Cosine with {other}, an epoch later", "cosine_after:{other}"),
    ),
)
FIGURE4 = Entry(
    name="figure4",
    title="What a rotation does to keys and attention",
    statement="The modalities exchange their cosines with the query (a, b); attention on audio drops and rises again "
    "(c); noise in place of audio gets clearly less attention than clean audio (d).",
    notes=("After: the epoch after the first rotation.", _LEVEL, _REPORT),
    cells=(
        *_rows(
            _both(KINETICS)[1:],
            ("Cosine with {biased}, before", "cosine_before:{biased}"),
            ("Cosine with {biased}, an epoch later", "cosine_after:{biased}"),
            ("Cosine with {other}, before", "cosine_before:{other}"),
            ("Cosine with {other}, an epoch later", "cosine_after:{other}"),
            ("Attention on {biased} in training, before", "mass_before:{biased}"),
            ("Attention on {biased} in training, an epoch later", "mass_after:{biased}"),
            TRAINED,
        ),
        *_rows(_both(KINETICS), MASS, (*NOISY, -1), ("Fall of attention when {biased} is noise", "fall:{biased}", 1)),
    ),
)
FIGURE5 = Entry(
    name="figure5",
    title="Average keys with RollingQ",
    statement="RollingQ makes the gap between the modalities smaller; noise in place of audio has a lower cosine with "
    "the query than the average keys of both modalities.",
    notes=(_REPORT,),
    cells=_rows(
        _both(KINETICS),
        ("Gap of the cosines, absolute", "gap", -1),
        COSINE,
        COSINE_OTHER,
        (*NOISY_COSINE, -1),
    ),
)
FIGURE6 = Entry(
    name="figure6",
    title="Attention and average keys on six datasets",
    statement="On all of them attention favours one modality unreasonably, and noise in its place has a higher cosine.",
    notes=("The biased modality is measured where the paper does not name it.", _LEVEL, _REPORT),
    cells=_rows(
        _parts(CREMA_D, KINETICS, MOSEI_VT, MOSEI_AT, UCF101, HMDB51), MASS, NOISY, COSINE, COSINE_OTHER, NOISY_COSINE
    ),
)
FIGURE7 = Entry(
    name="figure7",
    title="Gradient norms of the encoders",
    statement="The gradient of the audio encoder is always larger than that of the visual encoder.",
    notes=(_CURVES,),
    cells=_rows(
        _parts(CREMA_D, KINETICS),
        GRADIENT,
        GRADIENT_OTHER,
        ("Epochs in which that of {biased} is larger", "larger_gradient:{biased}"),
    ),
)


_FOUR = [changed(part, part.title, encoder__num_layers=4) for part in (CREMA_D, KINETICS)]


def _joint(suffix: str = "", words: str = "") -> list[Row]:
    return [
        (f"{{part}}: from block {block}{words}", {"method": f"joint:{block}{suffix}", "part": part})
        for part in _FOUR
        for block in (2, 3, 4)
    ]


_RATIO = ("Larger over smaller gradient norm", "gradient_ratio")
_GAP = ("Difference of attention in the last epoch", "mass_gap")
_WHICH = "The caption names both datasets, the text CREMA-D alone."
FIGURE8 = Entry(
    name="figure8",
    title="Gradient norms and attention by the block from which the modalities are fused",
    statement="The earlier the fusion, the smaller the difference of the gradients and the more balanced attention.",
    notes=(_WHICH, _CURVES),
    cells=_rows(_joint(), GRADIENT, GRADIENT_OTHER, TRAINED, TRAINED_OTHER, _RATIO, _GAP),
)
FIGURE9 = Entry(
    name="figure9",
    title="Gradient norms and attention by the block of fusion, with RollingQ",
    statement="With RollingQ both the attention and the gradients of the modalities are closer than in Figure 8.",
    notes=(_WHICH, _CURVES),
    cells=_rows([*_joint(), *_joint("+rollingq", " + RollingQ")], (*_RATIO, -1), (*_GAP, -1)),
)

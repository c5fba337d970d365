"""The datasets of the paper's experiments, as parts that entries share."""

from dataclasses import replace

from rollingq.reproduce.entry import Part

CREMA_D = Part(title="CREMA-D", data="crema_d", modalities=("audio", "visual"), biased="audio", is_pretrained=True)
KINETICS = Part(
    title="Kinetics-Sound", data="kinetics_sound", modalities=("audio", "visual"), biased="audio", is_pretrained=True
)
MOSEI_VT = Part(title="CMU-MOSEI (V+T)", data="cmu_mosei", modalities=("visual", "text"))
MOSEI_AT = Part(title="CMU-MOSEI (A+T)", data="cmu_mosei", modalities=("audio", "text"))
UCF101 = Part(title="UCF-101", data="ucf101", modalities=("visual", "flow"), is_pretrained=True)
HMDB51 = Part(title="HMDB51", data="hmdb51", modalities=("visual", "flow"), is_pretrained=True)

MT = ("Vanilla MT", {"method": "mt"})
ROLLING = ("Vanilla MT + RollingQ", {"method": "mt+rollingq"})


def changed(part: Part, title: str, **changes: object) -> Part:
    """Return a part with other settings; "__" stands for the dot in their names.

    Example:
        >>> changed(CREMA_D, "16", train__batch_size=16).changes
        (('train.batch_size', 16),)
    """
    return replace(part, title=title, changes=tuple((key.replace("__", "."), v) for key, v in changes.items()))

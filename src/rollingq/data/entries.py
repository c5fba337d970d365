"""The datasets: facts for people, and where their code is. Importable without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset.

    Attributes:
        name: What commands call it.
        title: What papers call it.
        modalities: In the order of the default recipe; the folder that was prepared has the last word.
        num_classes: With the default recipe; None if the user's files decide.
        size: How many clips, and how much disk the raw files and the prepared folder take.
        licence: Of the raw data.
        where: Where people get the raw files today.
        summary: One sentence.
        source: Import path of the class that reads the raw files; None if the data is in the package.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    num_classes: int | None
    size: str
    licence: str
    where: str
    summary: str
    source: str | None

    @property
    def embedded(self) -> bool:
        """Whether the data is in the package, so that nothing has to be prepared."""
        return self.source is None


_ENTRIES = (
    DatasetEntry(
        name="av_digits",
        title="AV-Digits",
        modalities=("audio", "image"),
        num_classes=10,
        size="1,874 pairs, 7 MB",
        licence="images CC BY 4.0 (UCI, by way of scikit-learn); made speech features Apache-2.0",
        where="the package: scikit-learn load_digits; espeak-ng 1.51 by scripts/make_av_digits.py",
        summary="A handwritten digit (real) and the same digit spoken in noise (made by a speech synthesiser).",
        source=None,
    ),
    DatasetEntry(
        name="utd_mhad",
        title="UTD-MHAD",
        modalities=("inertial", "depth", "skeleton"),
        num_classes=27,
        size="861 recordings, 1.1 GB raw, 30 MB prepared",
        licence="free for research; cite Chen, Jafari, Kehtarnavaz, ICIP 2015",
        where="https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
        summary="27 human actions of 8 people: a wearable inertial sensor, depth video, and skeletons.",
        source="rollingq.data.sources.utd_mhad:UTDMHAD",
    ),
    DatasetEntry(
        name="av_mnist",
        title="AV-MNIST",
        modalities=("audio", "image"),
        num_classes=10,
        size="70,000 pairs, 40 MB raw, 0.6 GB prepared",
        licence="MNIST CC BY-SA 3.0; Free Spoken Digit Dataset CC BY-SA 4.0",
        where="the four MNIST *-ubyte.gz files, and https://github.com/Jakobovski/free-spoken-digit-dataset",
        summary="A handwritten digit and a recording of a person who says it.",
        source="rollingq.data.sources.av_mnist:AVMNIST",
    ),
    DatasetEntry(
        name="crema_d",
        title="CREMA-D",
        modalities=("audio", "visual"),
        num_classes=6,
        size="7,442 clips, 8 GB raw, 2.3 GB prepared",
        licence="Open Database License (ODbL) 1.0; cite Cao et al., IEEE TAC 2014",
        where="https://github.com/CheyneyComputerScience/CREMA-D (needs Git LFS: AudioWAV and VideoFlash)",
        summary="91 actors say sentences in six emotions: voice and face.",
        source="rollingq.data.sources.crema_d:CREMAD",
    ),
    DatasetEntry(
        name="kinetics_sound",
        title="Kinetics-Sound",
        modalities=("audio", "visual"),
        num_classes=31,
        size="about 17,000 clips of 10 s, 30 GB raw, 17 GB prepared",
        licence="annotations CC BY 4.0 (Kinetics-400); videos belong to their uploaders",
        where="https://github.com/cvdfoundation/kinetics-dataset (Kinetics-400: the folders of 31 classes)",
        summary="31 classes of Kinetics-400 that can be seen and heard.",
        source="rollingq.data.sources.kinetics_sound:KineticsSound",
    ),
    DatasetEntry(
        name="cmu_mosei",
        title="CMU-MOSEI",
        modalities=("text", "audio", "visual"),
        num_classes=3,
        size="about 22,800 sentences, 4 GB raw, 1.9 GB prepared",
        licence="free for research; cite Zadeh et al., ACL 2018",
        where="the features of MultiBench (github.com/pliang279/MultiBench) or of MulT: mosei_senti_data.pkl",
        summary="How people on video feel about what they say: words, voice and face as sequences of features.",
        source="rollingq.data.sources.cmu_mosei:CMUMOSEI",
    ),
    DatasetEntry(
        name="ucf101",
        title="UCF-101",
        modalities=("visual", "flow"),
        num_classes=101,
        size="13,320 clips, 7 GB raw, 10 GB prepared",
        licence="free for research; cite Soomro, Zamir, Shah, CRCV-TR-12-01",
        where="https://www.crcv.ucf.edu/data/UCF101.php (videos and ucfTrainTestlist)",
        summary="101 human actions: colour frames and optical flow.",
        source="rollingq.data.sources.ucf101:UCF101",
    ),
    DatasetEntry(
        name="hmdb51",
        title="HMDB51",
        modalities=("visual", "flow"),
        num_classes=51,
        size="6,766 clips, 2 GB raw, 5 GB prepared",
        licence="CC BY 4.0; cite Kuehne et al., ICCV 2011",
        where="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, or MultiOOD's copy: "
        "huggingface.co/datasets/hdong51/MultiOOD",
        summary="51 human actions from films and the web: colour frames and optical flow.",
        source="rollingq.data.sources.hmdb51:HMDB51",
    ),
    DatasetEntry(
        name="custom",
        title="Your own data",
        modalities=(),
        num_classes=None,
        size="as large as you have it",
        licence="yours",
        where="a folder with samples.csv, or folders SPLIT/CLASS; see docs/datasets.md",
        summary="Any number of modalities: sound, images, video, arrays; some may be missing.",
        source="rollingq.data.sources.custom:Custom",
    ),
)
DATASETS: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}

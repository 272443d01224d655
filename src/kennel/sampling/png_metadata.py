"""The text of generated images in PNG, GIF, WebP and MP4 files, which says that a GAN made them."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import kennel
from kennel.data.image_files import SOURCE_TYPE_TEXT, SYNTHETIC, TEACHER_TEXT
from kennel.sampling.seeds import seed_words


def _text(what: str, run_fingerprint: str, images_seen: int, teacher: str | None) -> dict[str, str]:
    return ({} if teacher is None else {TEACHER_TEXT: teacher}) | {
        "Software": f"kennel {kennel.__version__}",
        "Description": f"{what} made by a generative adversarial network; not a photograph",
        SOURCE_TYPE_TEXT: SYNTHETIC,
        "kennel:run": run_fingerprint,
        "kennel:images_seen": str(images_seen),
    }


def sample_text(
    run_fingerprint: str, images_seen: int, seed: int, teacher: str | None = None
) -> dict[str, str]:
    """Returns the text of one sample; `teacher` is the pretrained network in the discriminator."""
    return _text("An image", run_fingerprint, images_seen, teacher) | {"kennel:seed": str(seed)}


def grid_text(
    run_fingerprint: str, images_seen: int, seeds: Sequence[int], teacher: str | None = None
) -> dict[str, str]:
    """Returns the text of a picture of several samples, or of a moving one."""
    text = _text("Images", run_fingerprint, images_seen, teacher)
    return text | {"kennel:seeds": seed_words(seeds)}


def comment(text: Mapping[str, str]) -> str:
    """Returns the text as lines, for formats with one comment."""
    return "\n".join(f"{name}: {value}" for name, value in text.items())


def xmp(text: Mapping[str, str]) -> bytes:
    """Returns the text as an XMP packet, with IPTC's property for the source of generated media."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{SYNTHETIC}</Iptc4xmpExt:DigitalSourceType>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(comment(text))}</rdf:li></rdf:Alt>'
        "</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()

"""A picture to a sentence: nano's LLaVA for real pictures, which speaks as people do who say what is in a photo.

In: pictures, and what the detector saw in each. Out: a sentence each, with how sure its words are. The tower is the trunk of nano's eye and is
read from there; the folder holds projector, language model and tokenizer. A sentence is a guess from one picture: nothing here is measured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from vlad.errors import WeightsError
from vlad.types import Box
from vlad.weights import nano_part
from vlad.wording import COLOURS, STEMS

from .tower import SightConfig

SIDE = 192  # pixels of the tower's square
TOKENS = (SIDE // 32) ** 2  # of a picture
ASK = "<user>{image}describe the picture. {seen}<assistant>"
WORDS = 24  # tokens of a sentence at most
BEAMS = 3
Picture = npt.NDArray[np.uint8]  # RGB [H, W, 3]


def tidy(caption: str) -> str:
    """A caption in lower case, without a stop and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[^a-z0-9' -]+", " ", caption.lower())).strip()


def plain_caption(seen: str) -> str:
    """What was seen, as the tokenizer reads it."""
    return ASK.format(image="", seen=seen)


def seen_words(boxes: Sequence[Box]) -> str:
    """What a detector saw in a picture, such as '2 people, 1 dog', the most first; '' for nothing."""
    found = Counter("people" if b.label == "person" else b.label for b in boxes)
    return ", ".join(f"{count} {label}" for label, count in found.most_common(4))


def guess(caption: str) -> str:
    """What of a caption may be told of footage: without its colours, which are measured or left out; '' where it names an event."""
    if any(stem.search(caption) for stem in STEMS.values()):
        return ""
    words = [w for w in caption.split() if w not in COLOURS]
    spaced = " ".join(words)
    return re.sub(r"\b(a|an) (?=(\w))", lambda m: "an " if m.group(2) in "aeiou" else "a ", spaced)


def pixels_of(pictures: Sequence[Picture]) -> torch.Tensor:
    """Pictures of any size, the whole of each fitted into the square: float [N, 3, SIDE, SIDE] in -1..1."""
    found = []
    for picture in pictures:
        x = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2).float()
        found.append(functional.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 255))
    return torch.cat(found) / 127.5 - 1


def build(tokenizer: Any, *, width: int, layers: int, heads: int) -> Any:
    """A LLaVA of random language weights on nano's eye."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    ids = {name: tokenizer.token_to_id(f"<{name}>") for name in ("pad", "bos", "eos", "image")}
    text = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=256, tie_word_embeddings=True,
        attention_dropout=0.1, pad_token_id=ids["pad"], bos_token_id=ids["bos"], eos_token_id=ids["eos"],
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=SightConfig(image_size=SIDE), text_config=text, image_token_index=ids["image"], vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_seq_length=TOKENS, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    settings: Any = model.generation_config
    settings.update(pad_token_id=ids["pad"], eos_token_id=ids["eos"], bos_token_id=ids["bos"])
    return model


def write(model: Any, folder: Path) -> None:
    """The folder of a captioner, float16, without its tower."""
    folder.mkdir(parents=True, exist_ok=True)
    text = model.config.text_config
    facts = {"width": text.hidden_size, "layers": text.num_hidden_layers, "heads": text.num_attention_heads}
    (folder / "captioner.json").write_text(json.dumps(facts) + "\n")
    state = {
        k: v.half().contiguous() for k, v in model.state_dict().items() if not k.startswith("lm_head.")
    }  # the head is the word embeddings, transposed
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


class Captioner:
    """A loaded captioner: pictures to sentences."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def __call__(self, pictures: Sequence[Picture], seen: Sequence[str] = ()) -> list[tuple[str, float]]:
        """A sentence a picture, in lower case, and the mean probability of its words in (0, 1]. seen: of each, by `seen_words`."""
        told = seen or [""] * len(pictures)
        return [self._one(*pair) for pair in zip(pictures, told, strict=True)]

    def _one(self, picture: Picture, seen: str) -> tuple[str, float]:
        prompt = self.tokenizer.encode(ASK.format(image="<image>" * TOKENS, seen=seen)).ids
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels_of([picture]), max_new_tokens=WORDS,
                num_beams=BEAMS, do_sample=False, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
        tokens = out.sequences[0, len(prompt) :].tolist()
        sure = float(out.sequences_scores[0].exp()) if out.sequences_scores is not None else 0.0
        return self.tokenizer.decode(tokens).strip(), min(sure, 1.0)


def load_captioner(folder: Path | None = None) -> Captioner:
    """nano's captioner, or that of a folder. Raises WeightsError for what does not fit."""
    from tokenizers import Tokenizer

    place = folder or nano_part("captioner")
    try:
        tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        model = build(tokenizer, **json.loads((place / "captioner.json").read_text()))
        state = {k: v.float() for k, v in load_file(place / "model.safetensors").items()}
        missing, unknown = model.load_state_dict(state, strict=False)
        odd = [*unknown, *(k for k in missing if not k.startswith("lm_head."))]
        if odd:
            raise ValueError(f"{odd[0]} is not in both")
    except WeightsError:
        raise
    except Exception as error:  # tokenizers has no exception of its own for a file that is none
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise WeightsError(f"captioner {place.name}: cannot be loaded ({line}); reinstall vlad") from None
    return Captioner(model, tokenizer)

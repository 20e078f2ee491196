"""The published presets up to their weights: the same architectures with random ones run the whole line.

Names, shapes and configurations are held against the libraries' own.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

import vlad
from vlad.config import PRESETS, make_settings
from vlad.encoder import load_encoder
from vlad.explainers.engine import Request
from vlad.explainers.llava import Layout, load_llava
from vlad.prompting import load_prompt
from vlad.weights import SOURCES

TOWERS = {"clip-b16": (768, 12, 16, 512), "clip-l14": (1024, 24, 14, 768)}  # width, layers, patch, embedding
# of llava-hf's config.json for both: (hidden, inner, layers, heads, key-value heads, tied), 152,000 tokens; SigLIP so400m at 384
LANGUAGE = {"clip-b16": (896, 4864, 24, 14, 2, True), "clip-l14": (3584, 18944, 28, 28, 4, False)}
SIZES = {"clip-b16": 0.9e9, "clip-l14": 8.0e9}
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% elif c['type'] == 'video' %}<video>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def onevision(preset: str, *, vocabulary: int = 152_000, **changes: int) -> Any:
    """LLaVA-OneVision's configuration as published for a preset."""
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    hidden, inner, layers, heads, shared, tied = LANGUAGE[preset]
    text = Qwen2Config(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=changes.get("layers", layers), num_attention_heads=heads,
        num_key_value_heads=shared, vocab_size=vocabulary, tie_word_embeddings=tied,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=changes.get("deep", 26), num_attention_heads=16, patch_size=14,
        image_size=384, vision_use_head=False,
    )  # fmt: skip
    return LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=5, video_token_index=6, vision_feature_select_strategy="full",
        vision_feature_layer=-1, tie_word_embeddings=tied, image_grid_pinpoints=[[384, 384], [384, 768]],
    )  # fmt: skip


def write_onevision(folder: Path, preset: str, **changes: int) -> None:
    """A folder as `vlad models pull` leaves it: random bfloat16 weights, a processor with a tokenizer of bytes."""
    from transformers import LlavaOnevisionForConditionalGeneration

    write_processor(folder)
    torch.manual_seed(0)
    with torch.device("meta"):
        model = LlavaOnevisionForConditionalGeneration(onevision(preset, **changes)).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    for value in model.parameters():
        torch.nn.init.normal_(value.data, std=0.02)
    model.tie_weights()
    model.generation_config.update(pad_token_id=0, eos_token_id=3)
    model.save_pretrained(folder)


def write_processor(folder: Path) -> Any:
    """LLaVA-OneVision's processor with a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        PreTrainedTokenizerFast,
    )

    special = ["<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<image>", "<video>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator([], trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<|im_end|>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
    )  # fmt: skip
    processor: Any = LlavaOnevisionProcessor
    made = processor(
        image_processor=LlavaOnevisionImageProcessor(), tokenizer=tokenizer, video_processor=LlavaOnevisionVideoProcessor(),
        num_image_tokens=729, vision_feature_select_strategy="full", chat_template=CHAT,
    )  # fmt: skip
    made.save_pretrained(folder)
    return made


@pytest.mark.slow
def test_frames_go_as_a_video_where_the_model_knows_videos(tmp_path: Path) -> None:
    """196 tokens a frame instead of 729, and as many frames as the context holds."""
    layout = Layout(write_processor(tmp_path), onevision("clip-b16"), name="onevision")
    assert layout.as_video
    prompt = load_prompt("explain")
    frames = [np.zeros((240, 320, 3), np.uint8)] * 200

    def request(count: int) -> Request:
        return Request(prompt.tell({"times": "1 s"}, images=count), frames[:count], None, 160)

    assert layout.count(request(5)) - layout.count(request(4)) == 196
    holds = layout.room(request(200))
    assert 150 < holds < 200
    assert layout.count(request(holds)) + 160 <= layout.context < layout.count(request(holds + 1)) + 160


def write_clip(folder: Path, name: str) -> None:
    """open_clip's own architecture with random weights as a local folder, in the form that its hub repositories have."""
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None)
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")


@pytest.mark.parametrize("preset", TOWERS)
def test_the_tower_is_the_one_that_its_name_promises(preset: str) -> None:
    width, layers, patch, embedding = TOWERS[preset]
    config = open_clip.get_model_config(PRESETS[preset]["encoder"])
    vision = config["vision_cfg"]
    assert (vision["width"], vision["layers"], vision["patch_size"], config["embed_dim"]) == (
        width,
        layers,
        patch,
        embedding,
    )
    tag = open_clip.get_pretrained_cfg(PRESETS[preset]["encoder"], PRESETS[preset]["encoder_weights"])
    assert tag["hf_hub"].rstrip("/") == SOURCES[preset][0].repo


@pytest.mark.parametrize("preset", LANGUAGE)
def test_the_explainer_has_the_published_shape(preset: str) -> None:
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        factory: Any = AutoModelForImageTextToText
        model = factory.from_config(onevision(preset))
    count = sum(p.numel() for p in model.parameters())
    assert count == pytest.approx(SIZES[preset], rel=0.05)
    assert count * 2 / 1e9 == pytest.approx(SOURCES[preset][1].size, rel=0.05)  # as listed: two bytes a weight


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "changes"),
    [("clip-b16", {}), ("clip-l14", {"layers": 1, "deep": 2})],  # 7B's widths, not its depth: it would not fit here
)
def test_the_whole_line_with_random_weights(preset: str, changes: dict[str, int], clip: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", PRESETS[preset]["encoder"])
    write_onevision(tmp_path / "llava", preset, **changes)
    settings = make_settings(
        preset, encoder=str(tmp_path / "clip"), explainer=str(tmp_path / "llava"), enter=0.0, leave=0.0, frames_per_snippet=1,
        explain_frames=2, max_explanations=1, max_new_tokens=3, explainer_bits=16, cache=None,
    )  # fmt: skip
    words: list[str] = []
    analysis = vlad.Analyzer(settings)(clip, on_text=lambda _, piece: words.append(piece))
    assert analysis.track.scores.shape == (len(analysis.track.edges) - 1,)
    (said,) = analysis.explanations
    assert (said.verdict, said.raw) == ("unclear", "".join(words))
    assert said.times == tuple(sorted(said.times))
    assert len(said.times) == 2
    vlad.save(analysis, tmp_path / "out", settings=settings)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_four_bits_without_the_package_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    from vlad.errors import WeightsError

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a))
    settings = make_settings("clip-l14")
    with pytest.raises(WeightsError, match="explainer_bits=16"):
        load_llava(str(tmp_path), "", settings, name="x")


@pytest.mark.slow
def test_a_published_tower_embeds_words_and_frames_in_one_space(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", "ViT-B-16")
    encoder = load_encoder(make_settings("clip-b16", encoder=str(tmp_path / "clip")))
    assert encoder.parts == (encoder.embed_text(["a street"]).shape[1], 0) == (512, 0)
    assert encoder.size == 224

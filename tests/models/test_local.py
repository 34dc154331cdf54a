"""One model, several adapters: who speaks, what is saved, and what peft makes of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny import give_adapter, tiny_llama, tiny_local_model
from torch import Tensor

from zerosearch.errors import ModelError
from zerosearch.models.local import LocalModel

IDS = torch.tensor([[5, 60, 300, 7, 41, 200]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
        return found


def assert_refused(error: pytest.ExceptionInfo[ModelError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_new_adapter_changes_nothing_and_a_trained_one_does(tiny_model: LocalModel) -> None:
    bare = logits(tiny_model.base)
    tiny_model.add_adapter("policy", rank=4)
    assert torch.equal(logits(tiny_model.base), bare)
    give_adapter(tiny_model, "other")
    assert not torch.allclose(logits(tiny_model.base), bare)
    tiny_model.activate("policy")
    assert torch.equal(logits(tiny_model.base), bare)


def test_each_name_speaks_with_its_own_weights_whoever_spoke_before(tiny_model: LocalModel) -> None:
    said: dict[str | None, Tensor] = {None: logits(tiny_model.base)}
    for seed, name in enumerate(("policy", "simulator")):
        give_adapter(tiny_model, name, seed=seed)
        said[name] = logits(tiny_model.base)
    assert not torch.allclose(said["policy"], said["simulator"])
    for speaker in ("policy", None, "simulator", None, None, "policy", "simulator"):
        tiny_model.activate(speaker)
        assert torch.equal(logits(tiny_model.base), said[speaker])
    with tiny_model.speaking_as("policy"):
        assert torch.equal(logits(tiny_model.base), said["policy"])
        with contextlib.suppress(KeyError), tiny_model.speaking_as(None):
            assert torch.equal(logits(tiny_model.base), said[None])
            raise KeyError  # an error in between changes nothing
        assert torch.equal(logits(tiny_model.base), said["policy"])
    assert torch.equal(logits(tiny_model.base), said["simulator"])


def trainable(model: LocalModel) -> set[str]:
    return {key for key, parameter in model.base.named_parameters() if parameter.requires_grad}


def test_only_the_adapter_being_trained_has_gradients_and_it_has_them_again_after_others_spoke(
    tiny_model: LocalModel,
) -> None:
    give_adapter(tiny_model, "simulator")
    assert trainable(tiny_model) == set()
    tiny_model.add_adapter("policy", rank=4, trainable=True)
    own = set(tiny_model.adapter_parameters("policy"))
    assert len(own) == 2 * 2 * 7  # A and B of seven layers in each of two blocks
    assert trainable(tiny_model) == own
    for speaker in ("simulator", None, "policy"):
        with tiny_model.speaking_as(speaker):
            assert trainable(tiny_model) == set()
        assert trainable(tiny_model) == own
    tiny_model.activate("policy")
    assert trainable(tiny_model) == set()


def test_adapters_are_float32_on_a_bfloat16_base(tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_local_model(tiny_tokenizer)
    give_adapter(model, "policy")
    model.save_adapter("policy", tmp_path / "a")
    half = LocalModel(tiny_llama(len(tiny_tokenizer)).bfloat16(), tiny_tokenizer, "half", torch.device("cpu"))
    half.add_adapter("policy", tmp_path / "a")
    half.add_adapter("new", rank=2)
    for name in ("policy", "new"):
        assert {p.dtype for p in half.adapter_parameters(name).values()} == {torch.float32}
    saved, loaded = model.adapter_state("policy"), half.adapter_state("policy")
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert half.dtype == torch.bfloat16


def test_what_is_saved_is_loaded_bit_for_bit(tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_local_model(tiny_tokenizer)
    give_adapter(model, "policy", rank=3)
    before = logits(model.base)
    model.save_adapter("policy", tmp_path / "deep" / "policy")
    model.save_adapter("policy", tmp_path / "deep" / "policy")  # over the one before
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["policy"]
    again = tiny_local_model(tiny_tokenizer)
    again.add_adapter("another name", tmp_path / "deep" / "policy")
    state, loaded = model.adapter_state("policy"), again.adapter_state("another name")
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[key], loaded[key]) for key in state)
    assert torch.equal(logits(again.base), before)
    config = json.loads((tmp_path / "deep" / "policy" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["peft_type"]) == ("tiny-0", 3, "LORA")


def test_peft_loads_what_we_save(tiny_model: LocalModel, tiny_tokenizer: Any, tmp_path: Path) -> None:
    give_adapter(tiny_model, "simulator")  # a second one, that must not get into the file
    give_adapter(tiny_model, "policy", seed=5)
    tiny_model.save_adapter("policy", tmp_path / "policy")
    theirs = PeftModel.from_pretrained(tiny_llama(len(tiny_tokenizer)), str(tmp_path / "policy"))
    assert not torch.allclose(logits(theirs), logits(tiny_llama(len(tiny_tokenizer))))
    torch.testing.assert_close(logits(theirs), logits(tiny_model.base), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
        {"r": 2, "lora_alpha": 3, "target_modules": "all-linear", "lora_dropout": 0.5},
        {"r": 4, "lora_alpha": 8, "target_modules": r".*mlp\.(up|down)_proj", "use_rslora": True},
        {
            "r": 4,
            "target_modules": ["q_proj", "k_proj"],
            "rank_pattern": {"k_proj": 2},
            "alpha_pattern": {"q_proj": 40},
        },
        {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [1]},
    ],
    ids=["some layers", "all layers, dropout", "a pattern, rslora", "ranks and scales of their own", "one block"],
)
def test_we_load_what_peft_saves(tiny_tokenizer: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    torch.manual_seed(9)
    theirs = get_peft_model(
        tiny_llama(len(tiny_tokenizer)), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
    ).eval()
    theirs.save_pretrained(str(tmp_path / "theirs"))
    model = tiny_local_model(tiny_tokenizer)
    bare = logits(model.base)
    model.add_adapter("policy", tmp_path / "theirs")
    assert not torch.allclose(logits(model.base), bare)
    torch.testing.assert_close(logits(model.base), logits(theirs), rtol=0, atol=1e-6)
    model.base.train()  # no dropout in training either: the generator has none (rule 4)
    torch.testing.assert_close(logits(model.base), logits(theirs), rtol=0, atol=1e-6)
    model.save_adapter("policy", tmp_path / "ours")  # and what we make of it, peft reads again
    again = PeftModel.from_pretrained(tiny_llama(len(tiny_tokenizer)), str(tmp_path / "ours"))
    torch.testing.assert_close(logits(again), logits(theirs), rtol=0, atol=1e-6)


def other_width(tokenizer: Any, folder: Path) -> None:
    other = tiny_local_model(tokenizer, hidden_size=64)
    give_adapter(other, "policy")
    other.save_adapter("policy", folder)


def other_layers(tokenizer: Any, folder: Path) -> None:
    other = tiny_local_model(tokenizer, num_hidden_layers=3)
    give_adapter(other, "policy")
    other.save_adapter("policy", folder)


def other_modules(tokenizer: Any, folder: Path) -> None:
    give = tiny_local_model(tokenizer)
    give_adapter(give, "policy")
    give.save_adapter("policy", folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["c_attn"]}))


def cut_weights(tokenizer: Any, folder: Path) -> None:
    other_modules(tokenizer, folder)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:200])


def no_weights(tokenizer: Any, folder: Path) -> None:
    other_modules(tokenizer, folder)
    (folder / "adapter_model.safetensors").unlink()


def no_json(tokenizer: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{")


def pissa(tokenizer: Any, folder: Path) -> None:
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM")
    get_peft_model(tiny_llama(len(tokenizer)), settings).save_pretrained(str(folder))


def no_lora(tokenizer: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "IA3"}')


def missing(tokenizer: Any, folder: Path) -> None:
    pass


@pytest.mark.parametrize("there", ["nothing", "an adapter", "a silent adapter"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_width, "does not fit"),
        (other_layers, "does not fit"),
        (other_modules, "does not fit"),
        (cut_weights, "cannot be read"),
        (no_weights, "cannot be read"),
        (no_json, "not valid JSON"),
        (no_lora, "IA3"),
        (pissa, "changes the base"),
        (missing, "no adapter_config.json"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_leaves_the_model_as_it_was(
    tiny_tokenizer: Any, tmp_path: Path, make: Any, words: str, there: str
) -> None:
    make(tiny_tokenizer, tmp_path / "policy")
    model = tiny_local_model(tiny_tokenizer)
    if there != "nothing":
        give_adapter(model, "simulator")
        model.activate("simulator" if there == "an adapter" else None, trainable=True)
    before, training, names = logits(model.base), trainable(model), list(model.adapters)
    parameters = [key for key, _ in model.base.named_parameters()]
    for _ in range(2):  # the second time it is not another error
        with pytest.raises(ModelError) as raised:
            model.add_adapter("policy", tmp_path / "policy")
        assert_refused(raised, words, str(tmp_path / "policy"))
        assert torch.equal(logits(model.base), before)
        assert trainable(model) == training
        assert model.adapters == names
        assert [key for key, _ in model.base.named_parameters()] == parameters
    give_adapter(model, "policy", seed=7)  # the name is still free
    assert not torch.allclose(logits(model.base), before)
    model.activate("simulator" if there == "an adapter" else None)
    assert torch.equal(logits(model.base), before)


def test_a_name_is_given_once(tiny_model: LocalModel) -> None:
    give_adapter(tiny_model, "policy")
    before = logits(tiny_model.base)
    with pytest.raises(ModelError) as raised:
        tiny_model.add_adapter("policy")
    assert_refused(raised, "already has an adapter 'policy'")
    assert torch.equal(logits(tiny_model.base), before)


def test_a_name_that_is_not_there_is_refused(tiny_model: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter 'policy'"):
        tiny_model.activate("policy")
    with pytest.raises(ModelError, match="no adapter 'policy'"):
        tiny_model.save_adapter("policy", tmp_path / "a")
    tiny_model.activate(None)
    give_adapter(tiny_model, "simulator")
    with pytest.raises(ModelError, match="it has simulator"):
        tiny_model.activate("policy")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tiny_tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    tiny_llama(len(tiny_tokenizer)).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("dtype", "found"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_model_is_loaded_from_a_folder(saved: Path, tiny_tokenizer: Any, dtype: Any, found: torch.dtype) -> None:
    model = LocalModel.load(str(saved), dtype=dtype, device="cpu")
    assert model.dtype == found
    assert trainable(model) == set()
    assert not model.base.training
    assert model.eos_ids == {tiny_tokenizer.eos_token_id}
    if dtype == "auto":
        assert torch.equal(logits(model.base), logits(tiny_llama(len(tiny_tokenizer))))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_folder_is_refused_in_one_line(saved: Path, file: str, damage: str) -> None:
    if damage == "gone":
        (saved / file).unlink()
    else:
        (saved / file).write_bytes((saved / file).read_bytes()[:100])
    with pytest.raises(ModelError) as raised:
        LocalModel.load(str(saved), device="cpu")
    assert_refused(raised, str(saved))


def test_the_codec_keeps_special_tokens_and_adds_none(tiny_model: LocalModel) -> None:
    codec = tiny_model.codec
    text = "<|im_start|>user\n hello , it 's <search> x </search><|im_end|>"
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert (ids[0], ids[-1]) == (1, 2)
    assert set(codec.special_tokens) == {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}


def test_the_ids_that_end_a_text_are_the_tokenizers_and_the_generation_configs(tiny_model: LocalModel) -> None:
    tiny_model.base.generation_config.eos_token_id = [7, 9]
    assert tiny_model.eos_ids == {2, 7, 9}
    tiny_model.base.generation_config.eos_token_id = None
    assert tiny_model.eos_ids == {2}

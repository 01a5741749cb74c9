"""Finding the files of a checkpoint: folders, the hub's cache without a network, the hub (faked), and every error."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from components import AutoencoderKL, CheckpointError, open_checkpoint
from components.tensor_headers import read_header

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "FlaxUNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "requires_safety_checker": False,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def write_tensors(path: Path, **tensors: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors or {"w": torch.zeros(2, 3)}, path, metadata={"format": "pt"})


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def build(root: Path) -> Path:
    """A checkpoint with the layout of Stable Diffusion: `unet` in fp16 and non_ema too, `text_encoder` in fp16 too."""
    write_json(root / "model_index.json", INDEX)
    write_json(root / "scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler", "beta_end": 0.012})
    write_json(root / "feature_extractor/preprocessor_config.json", {"size": 224})
    write_json(root / "tokenizer/tokenizer_config.json", {"model_max_length": 77})
    write_json(root / "tokenizer/vocab.json", {})
    (root / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    write_json(root / "unet/config.json", {"_class_name": "UNet2DConditionModel"})
    write_json(root / "vae/config.json", {"_class_name": "AutoencoderKL"})
    write_json(root / "text_encoder/config.json", {"architectures": ["CLIPTextModel"]})
    for name in (WEIGHTS, "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        write_tensors(root / "unet" / name)
    write_tensors(root / "vae" / WEIGHTS)
    write_tensors(root / "text_encoder/model.safetensors")
    write_tensors(root / "text_encoder/model.fp16.safetensors")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build(tmp_path / "checkpoint")


def weight_names(checkpoint, name, **options):
    return [path.name for path in checkpoint.component(name, **options).weights]


def error_of(function, *args, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        function(*args, **options)
    return str(caught.value)


# Folders


def test_the_index_names_components_and_classes(folder):
    checkpoint = open_checkpoint(folder)
    assert checkpoint.index["_class_name"] == "StableDiffusionPipeline" and checkpoint.commit is None
    assert checkpoint.component_names == (
        "feature_extractor", "scheduler", "text_encoder", "tokenizer", "unet", "vae"
    )  # fmt: skip
    unet, extractor = checkpoint.component("unet"), checkpoint.component("feature_extractor")
    assert (unet.library, unet.class_name) == ("diffusers", "UNet2DConditionModel")
    assert extractor.class_name == "CLIPImageProcessor" and extractor.config == {"size": 224}


def test_each_kind_of_component_has_its_files(folder):
    checkpoint = open_checkpoint(str(folder))
    scheduler, tokenizer, vae = (checkpoint.component(n) for n in ("scheduler", "tokenizer", "vae"))
    assert scheduler.config["beta_end"] == 0.012 and scheduler.weights == () == scheduler.others
    assert [p.name for p in tokenizer.others] == ["vocab.json", "merges.txt"] and tokenizer.weights == ()
    assert vae.config_path == folder / "vae/config.json" and vae.weights == (folder / "vae" / WEIGHTS,)


def test_a_component_without_the_checkpoints_variant_does_without(folder):
    checkpoint = open_checkpoint(folder, variant="fp16")
    assert weight_names(checkpoint, "unet") == ["diffusion_pytorch_model.fp16.safetensors"]
    assert weight_names(checkpoint, "text_encoder") == ["model.fp16.safetensors"]
    assert weight_names(checkpoint, "vae") == [WEIGHTS]
    assert checkpoint.component("vae").variant is None
    assert weight_names(checkpoint, "unet", variant=None) == [WEIGHTS]
    assert weight_names(checkpoint, "unet", variant="non_ema") == ["diffusion_pytorch_model.non_ema.safetensors"]


def test_a_missing_variant_lists_those_there_are(folder):
    message = error_of(open_checkpoint(folder, variant="pf16").component, "vae")
    assert message == (
        f"{folder} has no weights of variant 'pf16'. Variants there: text_encoder: none, fp16; "
        "unet: none, fp16, non_ema; vae: none. Did you mean 'fp16'?"
    )
    message = error_of(open_checkpoint(folder).component, "vae", variant="fp16")
    assert message == f"{folder}/vae has no weights of variant 'fp16'; variants there: none."


def test_only_variants_there_and_none_asked(folder):
    (folder / "vae" / WEIGHTS).rename(folder / "vae/diffusion_pytorch_model.fp16.safetensors")
    assert "vae has no weights without a variant; variants there: fp16" in error_of(
        open_checkpoint(folder).component, "vae"
    )


def test_flat_and_single_model_folders(folder, tmp_path):
    vae = open_checkpoint(folder / "vae")
    assert vae.index == {} and vae.component(None).class_name == "AutoencoderKL"
    assert weight_names(vae, "vae") == [WEIGHTS]
    flat = tmp_path / "flat"
    shutil.copytree(folder / "unet", flat)
    write_json(flat / "model_index.json", {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "U"]})
    write_json(flat / "scheduler_config.json", {"beta_end": 0.02})
    assert weight_names(open_checkpoint(flat), "unet") == [WEIGHTS]
    assert open_checkpoint(flat).component("scheduler").config == {"beta_end": 0.02}


def test_a_component_may_come_from_another_subfolder(folder):
    shutil.copytree(folder / "vae", folder / "vae_1_0")
    files = open_checkpoint(folder).component("vae", subfolder="vae_1_0")
    assert files.folder == folder / "vae_1_0" and files.class_name == "AutoencoderKL"
    assert "no folder 'vae_1'; folders there: " in error_of(open_checkpoint(folder).component, "vae", subfolder="vae_1")


@pytest.mark.parametrize("subfolder", ["../vae", "/etc", "unet/../../x", "a\\..\\b"])
def test_a_subfolder_stays_inside(folder, subfolder):
    assert "is not a folder inside" in error_of(open_checkpoint(folder).component, "vae", subfolder=subfolder)


def test_absent_components(folder):
    checkpoint = open_checkpoint(folder)
    assert error_of(checkpoint.component, "safety_checker").endswith(
        "comes without 'safety_checker' (null in its model_index.json)."
    )
    assert error_of(checkpoint.component, "vea").endswith("Did you mean 'vae'?")
    shutil.rmtree(folder / "vae")
    assert error_of(checkpoint.component, "vae") == f"{folder} has no config.json and no folder 'vae'."


# Headers and hashes


def test_tensors_are_listed_from_the_header(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, a=torch.zeros(2, 3, dtype=torch.bfloat16), b=torch.zeros((), dtype=torch.float64))
    a, b = (read_header(path)[name] for name in "ab")
    assert (a.shape, a.dtype, a.nbytes, a.file) == ((2, 3), "bfloat16", 12, path)
    assert (b.shape, b.dtype, b.nbytes) == ((), "float64", 8)


def test_hashes_are_of_the_files(folder):
    hashes = open_checkpoint(folder).component("vae").sha256()
    for name, value in hashes.items():
        assert subprocess.run(["sha256sum", folder / "vae" / name], capture_output=True).stdout.decode()[:64] == value
    assert sorted(hashes) == ["config.json", WEIGHTS]


def truncate_data(path):
    path.write_bytes(path.read_bytes()[:-5])


def truncate_header(path):
    path.write_bytes(path.read_bytes()[:20])


def make_lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")


def spoil_header(path):
    path.write_bytes(path.read_bytes().replace(b'{"', b"{!", 1))


def spoil_offsets(path):
    path.write_bytes(path.read_bytes().replace(b"[0,24]", b"[0,20]"))


def append(path):
    path.write_bytes(path.read_bytes() + b"more")


def make_html(path):
    path.write_text("<!DOCTYPE html><html>not found</html>")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate_data, "is truncated: tensor 'w' ends at data byte 24, the file has 19"),
        (truncate_header, "is truncated: its header has"),
        (make_lfs_pointer, "is a Git LFS pointer, not the weights: run `git lfs install` and `git lfs pull`"),
        (spoil_header, "is corrupt: its header is not a JSON object"),
        (spoil_offsets, "is corrupt: tensor 'w' of shape [2, 3] has offsets 0, 20"),
        (append, "is corrupt: 4 bytes belong to no tensor"),
        (make_html, "is not a safetensors file"),
        (Path.unlink, "does not exist"),
    ],
)
def test_a_damaged_weight_file_is_named(folder, damage, message):
    files = open_checkpoint(folder).component("vae")
    path = files.weights[0]
    damage(path)
    found = error_of(files.tensors)
    assert str(path) in found and message in found


def shard(folder: Path, *names: str, weight_map: dict[str, str]) -> Path:
    (folder / WEIGHTS).unlink(missing_ok=True)
    for name in names:
        write_tensors(folder / name, **{f"t{name[24:29]}": torch.zeros(3)})
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": weight_map})
    return folder / f"{WEIGHTS}.index.json"


ONE, TWO = (f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2))


def test_shards_are_found_through_their_index(folder):
    index = shard(folder / "vae", ONE, TWO, weight_map={"t00001": ONE, "t00002": TWO})
    files = open_checkpoint(folder).component("vae")
    assert [p.name for p in files.weights] == [ONE, TWO] and files.others == (index,)
    assert {name: info.file.name for name, info in files.tensors().items()} == {"t00001": ONE, "t00002": TWO}


def test_a_missing_shard_is_named(folder):
    shard(folder / "vae", ONE, weight_map={"t00001": ONE, "t00002": TWO})
    message = error_of(open_checkpoint(folder).component, "vae")
    assert f"vae lacks {TWO}, which its {WEIGHTS}.index.json names" in message


def test_a_tensor_the_index_promises_must_be_there(folder):
    shard(folder / "vae", ONE, TWO, weight_map={"t00001": ONE, "t9": TWO})
    assert f"promises tensor 't9' in {TWO}" in error_of(open_checkpoint(folder).component("vae").tensors)


def test_an_index_left_by_an_earlier_save_is_passed_over(folder):
    shard(folder / "vae", weight_map={"t1": ONE, "t2": TWO})
    write_tensors(folder / "vae" / WEIGHTS)
    assert weight_names(open_checkpoint(folder), "vae") == [WEIGHTS]


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_a_shard_is_a_file_beside_its_index(folder, name):
    shard(folder / "vae", weight_map={"t": name})
    assert "expected the name of a file beside it" in error_of(open_checkpoint(folder).component, "vae")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model_index.json", "{", "model_index.json is not valid JSON (line 1, column 2"),
        ("vae/config.json", "[1]", "vae/config.json holds a JSON list; expected an object"),
        ("vae/config.json", "\xff", "vae/config.json is not valid JSON"),
        ("scheduler/scheduler_config.json", "", "scheduler_config.json is not valid JSON"),
    ],
)
def test_broken_json_is_named(folder, file, text, message):
    (folder / file).write_text(text)
    name = file.split("/")[0] if "/" in file else "vae"
    assert message in error_of(lambda: open_checkpoint(folder).component(name))


def test_pickle_and_other_formats_only(folder):
    (folder / "vae" / WEIGHTS).rename(folder / "vae/diffusion_pytorch_model.bin")
    assert "only as pickle (diffusion_pytorch_model.bin)" in error_of(open_checkpoint(folder).component, "vae")
    assert weight_names(open_checkpoint(folder, allow_pickle=True), "vae") == ["diffusion_pytorch_model.bin"]
    flax = (folder / "vae/diffusion_pytorch_model.bin").rename(folder / "vae/diffusion_flax_model.msgpack")
    assert weight_names(open_checkpoint(folder), "vae") == ["diffusion_flax_model.msgpack"]
    flax.rename(folder / "vae/model.onnx")
    message = error_of(open_checkpoint(folder).component, "vae")
    assert message.endswith("vae has no weights in safetensors files; it has config.json, model.onnx.")


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("./nowhere", "nowhere is not an existing folder."),
        ("a/b/c", "'a/b/c' is neither an existing folder nor a hub repository id of the form org/name."),
        ("org/na me", "is neither an existing folder nor a hub repository id"),
        (Path("org/name"), "org/name is not an existing folder."),
    ],
)
def test_what_is_no_checkpoint(repo, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(open_checkpoint, repo)


def test_a_misspelt_folder_suggests_the_nearest_and_a_file_is_no_folder(folder):
    assert error_of(open_checkpoint, folder.parent / "checkpiont").endswith(f"Did you mean '{folder}'?")
    assert "is a file; a checkpoint is a folder" in error_of(open_checkpoint, folder / "model_index.json")
    assert "revision='x' is for the hub" in error_of(open_checkpoint, folder, revision="x")


def test_a_folders_name_taken_for_a_repositorys_suggests_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert error_of(open_checkpoint, "checkpoint/uent").endswith("Did you mean 'checkpoint/unet'?")
    assert error_of(open_checkpoint, "chekpoint").endswith("Did you mean 'checkpoint'?")


# The hub's cache, with no network


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to resolve a name or connect is recorded, and refused."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache with org/name: files are links to blobs, as huggingface_hub lays them out."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    source = build(tmp_path / "source")
    repo = tmp_path / "hub" / "models--org--name"
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        digest = subprocess.run(["sha256sum", path], capture_output=True).stdout.decode()[:64]
        blob = repo / "blobs" / (digest if path.suffix == ".safetensors" else digest[:40])
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link = repo / "snapshots" / COMMIT / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    return repo


def test_a_cached_repository_needs_no_network(cache, no_network):
    for checkpoint in (open_checkpoint("org/name"), open_checkpoint("org/name", revision=COMMIT, variant="fp16")):
        assert checkpoint.commit == COMMIT and checkpoint.root == cache / "snapshots" / COMMIT
        for name in checkpoint.component_names:
            files = checkpoint.component(name)
            assert files.tensors().keys() == ({"w"} if files.weights else set())
    assert no_network == []


def test_planning_from_the_cache_imports_neither_torch_nor_the_hubs_library(cache):
    code = (
        "import sys; from components import open_checkpoint\n"
        "c = open_checkpoint('org/name'); [(f.tensors(), f.sha256()) for f in map(c.component, c.component_names)]\n"
        "assert not {'torch', 'huggingface_hub', 'transformers', 'safetensors', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_large_cached_files_are_hashed_by_their_name(cache):
    files = open_checkpoint("org/name").component("vae")
    digest = files.weights[0].resolve().name
    assert len(digest) == 64 and files.sha256()[WEIGHTS] == digest


def test_models_load_from_the_cache_without_a_network(cache, no_network, tmp_path):
    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    model.save_pretrained(tmp_path / "vae")
    shutil.rmtree(cache / "snapshots" / COMMIT)
    shutil.copytree(tmp_path / "vae", cache / "snapshots" / COMMIT / "vae")
    loaded = AutoencoderKL.from_pretrained("org/name", subfolder="vae")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert no_network == []


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "local_files_only"])
def test_switched_off_the_network_is_not_asked(cache, no_network, monkeypatch, switch):
    options = {}
    if switch == "local_files_only":
        options[switch] = True
    else:
        monkeypatch.setenv(switch, "1")
    message = error_of(open_checkpoint, "org/other", **options)
    assert "org/other is not (wholly) in the cache" in message and "network is switched off" in message
    (cache / "snapshots" / COMMIT / "vae" / WEIGHTS).unlink()
    message = error_of(open_checkpoint("org/name", **options).component, "vae")
    assert "vae has no weights" in message and "network is switched off" in message
    assert no_network == []


def test_an_unreachable_hub_is_explained(cache, no_network):
    message = error_of(open_checkpoint, "org/other")
    assert "org/other is not (wholly) in the cache" in message and "Check the connection" in message
    assert no_network


def test_revisions_are_names(cache):
    assert "'../x' is not a revision" in error_of(open_checkpoint, "org/name", revision="../x")


# The hub, faked


class FakeHub:
    """Answers as huggingface_hub does, from a folder; counts what was downloaded."""

    def __init__(self, source: Path, repo: Path):
        self.source, self.repo, self.fetched = source, repo, []

    def snapshot_download(self, repo_id, *, revision, cache_dir, token, allow_patterns):
        root = self.repo / "snapshots" / COMMIT
        root.mkdir(parents=True, exist_ok=True)
        (self.repo / "refs").mkdir(exist_ok=True)
        (self.repo / "refs/main").write_text(COMMIT)
        for name in allow_patterns:
            if (self.source / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.source / name, root / name)
                self.fetched.append(name)
        return str(root)

    def list_repo_files(self, repo_id, *, revision):
        return [p.relative_to(self.source).as_posix() for p in self.source.rglob("*") if p.is_file()]


@pytest.fixture
def hub(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    fake = FakeHub(build(tmp_path / "source"), tmp_path / "hub" / "models--org--name")
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, *a, **k: fake.list_repo_files(*a, **k))
    return fake


def test_only_the_files_of_the_components_asked_for_are_downloaded(hub):
    checkpoint = open_checkpoint("org/name", variant="fp16")
    assert checkpoint.commit == COMMIT and hub.fetched == ["model_index.json"]
    assert weight_names(checkpoint, "unet") == ["diffusion_pytorch_model.fp16.safetensors"]
    assert hub.fetched[1:] == ["unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"]
    checkpoint.component("tokenizer")
    assert sorted(hub.fetched[3:]) == [
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
    ]
    assert weight_names(open_checkpoint("org/name", variant="fp16"), "unet") and len(hub.fetched) == 6


def test_what_the_cache_lacks_is_downloaded_at_the_cached_commit(hub):
    open_checkpoint("org/name").component("vae")
    assert weight_names(open_checkpoint("org/name"), "unet") == [WEIGHTS]
    assert hub.fetched.count("model_index.json") == 1 and f"unet/{WEIGHTS}" in hub.fetched


def test_a_variant_the_hub_lacks_is_refused_with_those_it_has(hub):
    message = error_of(open_checkpoint("org/name", variant="bf16").component, "unet")
    assert "Variants there: text_encoder: none, fp16; unet: none, fp16, non_ema; vae: none" in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GatedRepoError", "org/name is gated: accept its conditions at https://huggingface.co/org/name, then log in "),
        (
            "RepositoryNotFoundError",
            "'org/name' is neither a local folder nor a repository on the hub that you may read",
        ),
        ("RevisionNotFoundError", "org/name has no revision 'main'"),
        ("LocalEntryNotFoundError", "the hub could not be asked for it (LocalEntryNotFoundError"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(hub, monkeypatch, name, expected):
    from huggingface_hub import errors

    def refuse(*args, **kwargs):
        raise getattr(errors, name).__new__(getattr(errors, name), "refused")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    message = error_of(open_checkpoint, "org/name")
    assert expected in message
    if name in ("GatedRepoError", "RepositoryNotFoundError"):
        assert "`hf auth login` or set HF_TOKEN" in message


def test_a_moved_repository_is_followed_and_said(hub, caplog):
    checkpoint = open_checkpoint("runwayml/stable-diffusion-v1-5")
    assert checkpoint.source == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert "runwayml/stable-diffusion-v1-5 has moved: using stable-diffusion-v1-5/" in caplog.text

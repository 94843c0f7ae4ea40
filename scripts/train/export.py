"""Writes a trained model as a Hugging Face style folder, and reads one back."""

import hashlib
import json
import pathlib
import shutil

import sentencepiece as spm
import torch
from safetensors.torch import load_file, save_file

from model import Config, TinyLlama

SPACE = "\u2581"
BLOCK_NAMES = {
    "attention_norm": "input_layernorm.weight",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}


def names(config):
    """{name in the module: name in the file}"""
    table = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight"}
    for i in range(config.layers):
        table |= {
            f"blocks.{i}.{ours}": f"model.layers.{i}.{theirs}"
            for ours, theirs in BLOCK_NAMES.items()
        }
    return table


def hf_config(c, positions):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.width,
        "intermediate_size": c.hidden,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": c.theta,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "use_cache": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "torch_dtype": "bfloat16",
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "add_prefix_space": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
}


def tokenizer_json(processor):
    """The SentencePiece model as a `tokenizers` file, which spares transformers a conversion."""
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for piece in pieces[3 + 256 :]:  # in the order they were learned; single characters have none
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        splits = [s for s in splits if s[0] in vocab and s[1] in vocab]
        merges += sorted(splits, key=lambda s: (vocab[s[0]], vocab[s[1]]))
    special = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    bos, first, second = (
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": pieces[i], **special} for i in range(3)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": "first",
            "split": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, {"SpecialToken": {"id": "<s>", "type_id": 1}}, second],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def write_folder(model, tokenizer_model, folder, positions):
    """config.json, model.safetensors (bf16), tokenizer.model and its transformers files."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    tensors = {
        theirs: state[ours].to(torch.bfloat16).cpu().contiguous()
        for ours, theirs in names(model.config).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = hf_config(model.config, positions)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    shutil.copyfile(tokenizer_model, folder / "tokenizer.model")
    fast = tokenizer_json(spm.SentencePieceProcessor(model_file=str(tokenizer_model)))
    text = json.dumps(fast, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


ARM_NAMES = {
    "q": "q_proj.weight",
    "k": "k_proj.weight",
    "v": "v_proj.weight",
    "o": "o_proj.weight",
    "theta": "theta",
    "lam": "lambda_proj.weight",
    "lam_bias": "lambda_proj.bias",
    "write": "write_proj.weight",
    "write_bias": "write_proj.bias",
    "eta": "summary_eta_logit",
}


def file_hash(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def write_arm(arm, base, base_name, folder, dtype=torch.bfloat16):
    """The attention of a trained arm over its base: config.json and the tensors that were trained.

    `base` is the folder the arm was trained from, `base_name` how the arm's folder names it: a zoo
    model, or a path relative to the arm's folder.
    """
    base, folder = pathlib.Path(base), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for i, block in enumerate(arm.blocks):
        for ours, theirs in ARM_NAMES.items():
            if (p := getattr(block, ours)) is not None:
                name = f"model.layers.{i}.self_attn.{theirs}"
                tensors[name] = p.detach().to(dtype).cpu().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((base / "config.json").read_text())
    kind = arm.attention
    config["kvgauge"] = {
        "base": str(base_name),
        "base_hash": file_hash(base / "model.safetensors"),
        "attention": kind.kind,
    }
    if kind.kind == "coda":
        config["kvgauge"]["second_map"] = kind.second_map
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def read_folder(folder):
    """The model in float32, weights as shipped."""
    folder = pathlib.Path(folder)
    c = json.loads((folder / "config.json").read_text())
    config = Config(
        c["vocab_size"],
        c["num_hidden_layers"],
        c["hidden_size"],
        c["num_attention_heads"],
        c["num_key_value_heads"],
        c["head_dim"],
        c["intermediate_size"],
        c["max_position_embeddings"],
        c["rope_theta"],
    )
    model = TinyLlama(config)
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({ours: tensors[theirs].float() for ours, theirs in names(config).items()})
    return model.eval()

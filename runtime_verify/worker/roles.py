"""What a name says about a value that is not there: data and small questions. A prior only, use outranks it. No torch.

The tables were read off public training and inference code (verifier.md section 7).
"""

from __future__ import annotations

import re

SELF_RETURNING = frozenset(
    [
        "to",
        "cuda",
        "cpu",
        "float",
        "half",
        "bfloat16",
        "double",
        "train",
        "eval",
        "requires_grad_",
        "requires_grad",
        "contiguous",
        "type",
        "to_empty",
        "share_memory",
        "share_memory_",
        "pin_memory",
        "prepare",
        "unwrap_model",
        "module",
        "xpu",
        "mps",
        "npu",
        "type_as",
        "apply",
    ]
)
"""Methods of modules and tensors alike that hand the same thing back."""

MODULE_API = frozenset(
    [
        "parameters",
        "named_parameters",
        "buffers",
        "named_buffers",
        "children",
        "named_children",
        "modules",
        "named_modules",
        "state_dict",
        "load_state_dict",
        "zero_grad",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_backward_hook",
        "register_module",
        "register_buffer",
        "register_parameter",
        "add_module",
        "get_submodule",
    ]
)
"""Methods that only a module has; a stand-in that is asked for one is a module from then on."""

CONTAINER_API = frozenset({"append", "appendleft", "extend", "insert", "pop", "popleft", "clear", "index", "count"})
"""Methods of lists; a stand-in that is appended to keeps what it is given, as a list would."""

NO_RESULT = re.compile(
    r"^(log|logger|print|write|writer|info|debug|warning|warn|error|critical|exception|update|set_|add_|register|save|dump|"
    r"step|zero_grad|close|flush|display|show|plot|report|track|record|emit|publish|notify|callback|on_|barrier|wait|"
    r"synchronize|sleep|seed|manual_seed|setup|init_|makedirs|mkdir|remove|commit|push|start|stop|finish|reset|tick|"
    r"free_memory|set$|clip_grad|unscale|sync|end_|begin_|advance|refresh|clear|del_|delete|cleanup|free)"
)
"""Calls that are made for what they do, not for a result."""

GRAPH = re.compile(
    r"(loss|logit|output|outs?$|pred|hidden|feat|score|embed|latent|cost|prob|recon|fake|attn|attention|state$|"
    r"value|rewards?$|activation|result|distance|sim$|penalty|kl|nll|elbo|objective|error$|^q\d?$|^z$|^h$|^e$|^l$|^g$|repr)",
    re.IGNORECASE,
)
"""Values that a model makes: they carry a graph where grad is on."""

TENSOR = re.compile(
    r"(image|img|input|target|label|batch|data$|sample|tensor|mask|ids$|tokens?$|audio|wav|mel|spec|frame|pixel|noise|"
    r"^x\d*$|^y\d*$|^xs$|^ys$|_x$|_y$|src|tgt|text_emb|cond|points?$|coords?|boxes|weight|bias|mean$|std$|var$|grad|obs|"
    r"action|query|key_states|hs$|coeff|matrix|vector|position|depth|pose|ray|rgb|video|clip$|lengths?$|gt|"
    r"real$|memory$|cache$|patch|flow|disp|seq$|speech|signal|pcm|f0|phone|pitch)",
    re.IGNORECASE,
)
"""Values that are data on the device."""

MODULE = re.compile(
    r"(model|net|module|encoder|decoder|generator|discriminator|critic|actor|policy|backbone|head|layer|block|unet|vae|gan|"
    r"transformer|bert|gpt|llm|criterion|embedd?er|teacher|student|classifier|regressor|network|^net[a-z]$|_fn$|func$|conv|"
    r"linear|norm|proj|vocoder|ema$|engine|agent|lm$|^f$|^g$|^d$|mlp|extractor|predictor|tower|stem|pool|act$|dropout)",
    re.IGNORECASE,
)
"""Values that are called with tensors and give tensors."""

LOSS_FUNCTION = re.compile(r"(loss|criteri|objective|cost|penalty|bce|mse|nll|kl_|l1|entropy|metric)", re.IGNORECASE)
ITERATED = re.compile(r"(loader|dataset|iterator|batches|dataloader|generator$|_iter$|data$|stream)", re.IGNORECASE)
CONFIG = re.compile(
    r"^(args?|cfg|config|configs|conf|opts?|options?|params?|hparams?|hps?|settings|flags|FLAGS|hyper.*|.*_args|.*_cfg|"
    r".*_config|.*config|argv|namespace|training_args|h)$"
)
TEXT = re.compile(
    r"(path|dir|file|name|prefix|suffix|folder|root|url|uri|str|text|prompt|mode|type|backend|device|dtype|ckpt|"
    r"filename|arch|format|version|tag|title|desc|lang|split|phase|kind|method|string)$",
    re.IGNORECASE,
)
DEVICE = re.compile(r"(^|_)(device|gpu|cuda_device|rank_device)s?$", re.IGNORECASE)
FLAG = re.compile(
    r"^(is|use|has|do|no|with|enable|disable|should|can|need|allow|skip|only|save|load|resume|debug|verbose|fp16|bf16|amp|"
    r"distributed|multi|ddp|dist|test|eval|evaluate|shuffle|pin|drop|cuda$|quiet|force|pretrained|push|return|output_|low|"
    r"offload|freeze|ema|wandb|tensorboard|deepspeed|fsdp|half|compile|training$)(_|$|[a-z]*$)",
    re.IGNORECASE,
)

_NUMBERS: tuple[tuple[str, float], ...] = (
    (r"(lr|learning_rate)$", 1e-3),
    (r"(eps|epsilon)$", 1e-8),
    (r"(weight_decay|wd)$", 1e-2),
    (r"(momentum|beta1|decay|gamma|rho|tau|discount|ema_rate)$", 0.9),
    (r"(beta2)$", 0.999),
    (r"(betas)$", 0.9),
    (
        r"(dropout|drop|p|prob|rate|ratio|alpha|beta|sigma|scale|temperature|temp|coef|coeff|lambda.*|lam.*|factor|smoothing)$",
        0.1,
    ),
    (
        r"(rank|local_rank|gpu|node_rank|process_index|start_epoch|start_step|epoch|step|global_step|iteration|it|seed)$",
        0,
    ),
    (r"(world_size|ngpus?|num_gpus?|n_gpus?|nodes|num_processes|gradient_accumulation_steps|accum.*|grad_acc.*)$", 1),
    (r"(epochs|num_epochs|n_epochs|max_epochs?|nepoch|niter)$", 2),
    (r"(batch_size|bs|bsz|batchsize|batch)$", 16),
    (r"(vocab.*|n_tokens?|num_tokens|ntoken|n_vocab|num_embeddings|n_symbols)$", 1000),
    (r"(n_heads?|num_heads?|heads|nheads?|num_attention_heads)$", 4),
    (r"(n_layers?|num_layers?|layers|depth|nlayers|num_blocks|n_blocks|blocks|num_hidden_layers)$", 2),
    (r"(num_classes|n_classes|nclass|classes|nc|num_labels|output_size|n_class|n_labels)$", 16),
    (r"(in_channels|in_ch|channels|input_nc|output_nc|img_channels|nc|n_channels|num_channels)$", 4),
    (r".*(channel|filter|plane).*", 64),
    (r"(kernel_size|kernel|ks|k)$", 3),
    (r"(stride|dilation|groups|padding_idx)$", 1),
    (r"(padding|pad)$", 1),
    (r"(.*length|.*len|max_seq.*|seq_len|context|block_size|ctx.*|n_ctx|max_position.*)$", 64),
    (r"(.*hidden.*|.*dim.*|.*size|.*width|.*features?|.*units|n_embd|d_model|ngf|ndf|.*height|.*resolution|h|w)$", 64),
    (r"(.*_every|.*_interval|.*_freq|.*_steps|log_.*|save_.*|print_.*|.*_period|freq)$", 10),
    (r"(max|maximum|limit|threshold|clip.*|max_norm|max_.*)$", 10),
    (r"(min.*)$", 0),
)
NUMBERS = tuple((re.compile(rf"(?:^|_){pattern}", re.IGNORECASE), value) for pattern, value in _NUMBERS)


def last(path: str) -> str:
    """The last name in a stand-in's path: "args.hidden" -> "hidden", "loader[]" -> "loader"."""
    names = re.findall(r"[A-Za-z_]\w*", path.replace("()", "").replace("[]", ""))
    return names[-1] if names else path


def first(path: str) -> str:
    """The first name in a stand-in's path that is not `self`."""
    names = [name for name in re.findall(r"[A-Za-z_]\w*", path) if name != "self"]
    return names[0] if names else path


def number(path: str) -> int | float:
    """The number that a name usually stands for."""
    name = last(path)
    return next((value for pattern, value in NUMBERS if pattern.search(name)), 4)


def from_config(path: str) -> bool:
    """Whether a value was read off something that holds settings."""
    return any(CONFIG.match(name) for name in re.findall(r"[A-Za-z_]\w*", path)[:-1])


def taken_for_tensor(name: str) -> bool:
    """Whether a name is a tensor's rather than a module's: what it ends with counts ("model_output", "loss_fn")."""
    ends = {
        kind: max((match.end() for match in pattern.finditer(name)), default=0)
        for kind, pattern in (("tensor", TENSOR), ("graph", GRAPH), ("module", MODULE))
    }
    tensor = max(ends["tensor"], ends["graph"])
    if tensor == ends["module"]:
        return tensor > 0 and not (len(name) == 1 and name.isupper())
    return tensor > ends["module"]

"""The reference model: transformers' Llama in fp32, with a GGUF file's weights.

gguf reads and dequantises the tensors, tokenizers encodes, transformers
computes; none of it shares code with the engine.
"""
import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TEMPLATE = {
    "prefix": "<|im_start|>user\n{instruction}\n\n",
    "prefix_empty": "<|im_start|>user\n",
    "body": "{input}",
    "suffix": "<|im_end|>\n<|im_start|>assistant\n",
}
CONTROL_TYPES = (3, 4)


def fields(reader):
    return {name: field.contents() for name, field in reader.fields.items()}


def tensors(reader):
    """Every tensor dequantised to fp32, in numpy order (rows, columns)."""
    out = {}
    for t in reader.tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type)
        out[t.name] = np.array(x, np.float32).reshape(tuple(t.shape)[::-1])
    return out


def round_q8_0(x):
    """Rounded as a merged file keeps it: blocks of 32, d = max|x| / 127 as f16."""
    blocks = x.reshape(-1, 32)
    d = (np.abs(blocks).max(1, keepdims=True) / np.float32(127)).astype(np.float16)
    d = d.astype(np.float32)
    return (np.clip(np.rint(blocks / d), -127, 127) * d).reshape(x.shape)


def split_halves(w, n_heads):
    """GGUF keeps the rotary pairs adjacent; transformers keeps them half a head apart."""
    rows, cols = w.shape
    return w.reshape(n_heads, rows // n_heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


class Vocabulary:
    """The byte-level BPE of a GGUF file, by the tokenizers package."""

    def __init__(self, meta):
        tokens = meta["tokenizer.ggml.tokens"]
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.control = [t for t, kind in zip(tokens, meta["tokenizer.ggml.token_type"])
                        if kind in CONTROL_TYPES]
        if meta["tokenizer.ggml.pre"] != "smollm":
            raise ValueError("only the split rule smollm is known here")
        merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
        self.tokenizer = Tokenizer(models.BPE(vocab=self.ids, merges=merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
        self.tokenizer.decoder = decoders.ByteLevel()

    def plain(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def literal(self, template, slot=None, value=""):
        """Control tokens spelled out in the template become ids; each run between
        them is filled in and encoded as one plain text."""
        out = []
        while template:
            found = [(template.index(c), -len(c), c) for c in self.control if c in template]
            at, _, control = min(found, default=(len(template), 0, ""))
            run = template[:at]
            if slot is not None:
                run = run.replace("{" + slot + "}", value)
            out += self.plain(run)
            if control:
                out.append(self.ids[control])
            template = template[at + len(control):]
        return out


class Reference:
    def __init__(self, path, adapter_path=None):
        reader = gguf.GGUFReader(path)
        self.meta = fields(reader)
        weights = tensors(reader)
        self.lookahead = None
        if adapter_path is not None:
            self.merge(weights, gguf.GGUFReader(adapter_path))
        self.template = {k: self.meta.get("instemb.template." + k, v) for k, v in TEMPLATE.items()}
        self.template["suffix_empty"] = self.meta.get("instemb.template.suffix_empty",
                                                      self.template["suffix"])
        self.pooling = self.meta.get("instemb.pooling", "last")
        self.vocabulary = Vocabulary(self.meta)
        self.model = self.build(weights)

    def merge(self, weights, reader):
        """W + alpha / r * B A in fp32, rounded to Q8_0."""
        adapter = fields(reader)
        parts = tensors(reader)
        for name in [n for n in parts if n.endswith(".lora_a")]:
            a = parts[name]
            b = parts[name[:-1] + "b"]
            delta = adapter["adapter.lora.alpha"] / len(a) * (b @ a)
            name = name[:-len(".lora_a")]
            weights[name] = round_q8_0(weights[name] + delta)
        self.lookahead = parts.get("instemb.lookahead")
        self.meta.update((k, v) for k, v in adapter.items() if k.startswith("instemb."))

    def build(self, weights):
        m = self.meta
        n_head = m["llama.attention.head_count"]
        n_head_kv = m["llama.attention.head_count_kv"]
        config = LlamaConfig(
            vocab_size=len(weights["token_embd.weight"]),
            hidden_size=m["llama.embedding_length"],
            intermediate_size=m["llama.feed_forward_length"],
            num_hidden_layers=m["llama.block_count"],
            num_attention_heads=n_head,
            num_key_value_heads=n_head_kv,
            head_dim=m["llama.rope.dimension_count"],
            rms_norm_eps=m["llama.attention.layer_norm_rms_epsilon"],
            rope_parameters={"rope_type": "default", "rope_theta": m["llama.rope.freq_base"]},
            max_position_embeddings=m["llama.context_length"],
            tie_word_embeddings=True)
        config._attn_implementation = "eager"
        state = {
            "model.embed_tokens.weight": weights["token_embd.weight"],
            "lm_head.weight": weights["token_embd.weight"],
            "model.norm.weight": weights["output_norm.weight"],
        }
        for layer in range(config.num_hidden_layers):
            for name, module in MODULES.items():
                w = weights[f"blk.{layer}.{name}.weight"]
                if name == "attn_q":
                    w = split_halves(w, n_head)
                elif name == "attn_k":
                    w = split_halves(w, n_head_kv)
                state[f"model.layers.{layer}.{module}.weight"] = w
        model = LlamaForCausalLM(config).eval()
        model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        return model

    def sequence(self, text, instruction):
        """(ids, first body position, end of the body)"""
        v, t = self.vocabulary, self.template
        if instruction:
            prefix = v.literal(t["prefix"], "instruction", instruction)
            suffix = v.literal(t["suffix"], "instruction", instruction)
        else:
            prefix = v.literal(t["prefix_empty"])
            suffix = v.literal(t["suffix_empty"])
        body = v.literal(t["body"], "input", text)
        return (prefix + body + suffix, len(prefix), len(prefix) + len(body))

    def inputs(self, sequences):
        """Input embeddings [B, T, C], short sequences padded at the end, where the
        causal mask hides it; look-ahead vectors follow each sequence's tokens."""
        rows = [self.model.model.embed_tokens(torch.tensor(ids)) for ids, _, _ in sequences]
        if self.lookahead is not None:
            ahead = torch.from_numpy(self.lookahead)
            rows = [torch.cat([x, ahead]) for x in rows]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    @torch.no_grad()
    def embed(self, texts, instruction, batch_tokens=2048):
        """Unit vectors [n, C]"""
        sequences = [self.sequence(text, instruction) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(sequences[i][0]))
        out = np.empty((len(texts), self.model.config.hidden_size), np.float32)
        while order:
            longest = len(sequences[order[-1]][0])
            n = max(1, batch_tokens // longest)
            order, chunk = order[:-n], order[-n:]
            x = self.inputs([sequences[i] for i in chunk])
            states = self.model.model(inputs_embeds=x).last_hidden_state.numpy()
            for i, s in zip(chunk, states):
                out[i] = self.pool(s, *sequences[i])
        return out

    @torch.no_grad()
    def states(self, text, instruction):
        """Every state of one text under the names that the engine's trace uses: the
        residual stream [T + K, C] after the embedding, after each layer's attention
        and after each layer, and the final norm's output."""
        seen = []
        hooks = []
        for layer in self.model.model.layers:
            hooks.append(layer.post_attention_layernorm.register_forward_pre_hook(
                lambda module, args: seen.append(args[0][0].numpy().copy())))
            hooks.append(layer.register_forward_hook(
                lambda module, args, output: seen.append(output[0].numpy().copy())))
        x = self.inputs([self.sequence(text, instruction)])
        final = self.model.model(inputs_embeds=x).last_hidden_state[0].numpy()
        for hook in hooks:
            hook.remove()
        return [x[0].numpy()] + seen + [final]

    @torch.no_grad()
    def generate(self, text, instruction, count):
        """Greedy: up to count tokens, and the states [n + 1, C] that they come from, all
        positions computed anew for each. A control token ends it."""
        v = self.vocabulary
        ids = self.sequence(text, instruction)[0]
        answer, states = [], []
        while True:
            state = self.model.model(torch.tensor([ids + answer])).last_hidden_state[0, -1]
            states.append(state.numpy())
            token = int(self.model.lm_head(state).argmax())
            if len(answer) == count or token in map(v.ids.get, v.control):
                return v.tokenizer.decode(answer), np.array(states)
            answer.append(token)

    def embed_generated(self, text, instruction, pooling, count=3):
        """The poolings generate and generate_mean, see src/model/generate.h"""
        _, states = self.generate(text, instruction, 1 if pooling == "generate" else count)
        if pooling == "generate":
            x = states[-1]
        else:
            x = states[:max(1, min(count, len(states) - 1))].mean(0)
        return x / np.linalg.norm(x)

    def pool(self, states, ids, begin, end):
        """states [T + K + padding, C] of a sequence whose body is begin..end"""
        unit = lambda x: x / np.linalg.norm(x)
        last = states[len(ids) - 1]
        if self.pooling == "last":
            return unit(last)
        if self.pooling == "mean":
            return unit(states[begin:end].mean(0))
        ahead = states[len(ids):len(ids) + len(self.lookahead)].mean(0)
        if self.pooling == "lookahead":
            return unit(ahead)
        if self.pooling == "daap":
            return unit(unit(last) + unit(ahead))
        raise ValueError(f"pooling {self.pooling}")

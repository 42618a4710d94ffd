/*
 * llama.c
 *	  The Llama family: RMS norm before each part, rotary embedding on adjacent
 *	  pairs (GGUF files of this architecture have Q and K permuted for it),
 *	  grouped-query causal attention, SwiGLU (Touvron et al. 2023).
 */
#include "model/layer.h"

#include <stddef.h>

static const ie_key_spec keys[] = {
	{"block_count", IE_KEY_READ},
	{"context_length", IE_KEY_READ},
	{"embedding_length", IE_KEY_READ},
	{"feed_forward_length", IE_KEY_READ},
	{"attention.head_count", IE_KEY_READ},
	{"attention.head_count_kv", IE_KEY_READ},
	{"attention.key_length", IE_KEY_READ},
	{"attention.value_length", IE_KEY_READ},
	{"attention.layer_norm_rms_epsilon", IE_KEY_READ},
	{"rope.dimension_count", IE_KEY_READ},
	{"rope.freq_base", IE_KEY_READ},

	/* the vocabulary's tables say it better; about logits; about scaling that is refused anyway */
	{"vocab_size", IE_KEY_IGNORED},
	{"tensor_data_layout", IE_KEY_IGNORED},
	{"logit_scale", IE_KEY_IGNORED},
	{"rope.scaling.original_context_length", IE_KEY_IGNORED},
	{"rope.scaling.finetuned", IE_KEY_IGNORED},

	{"rope.scaling.type", IE_KEY_NONE},
	{"rope.scaling.factor", IE_KEY_ONE},
	{"rope.scaling.attn_factor", IE_KEY_ONE},
	{"rope.scale_linear", IE_KEY_ONE},
	{"embedding_scale", IE_KEY_ONE},
	{"residual_scale", IE_KEY_ONE},
	{"attention.causal", IE_KEY_TRUE},
	{"attention.scale", IE_KEY_ZERO},
	{"attention.sliding_window", IE_KEY_ZERO},
	{"attention.clamp_kqv", IE_KEY_ZERO},
	{"attention.max_alibi_bias", IE_KEY_ZERO},
	{"expert_count", IE_KEY_ZERO},
	{"expert_used_count", IE_KEY_ZERO},
};

#define GLOBAL(field) false, offsetof(ie_weights, field)
#define LAYER(field) true, offsetof(ie_layer, field)

static const ie_tensor_spec tensors[] = {
	{"token_embd.weight", GLOBAL(token_embd), IE_DIM_EMBD, IE_DIM_VOCAB},
	{"output_norm.weight", GLOBAL(output_norm), IE_DIM_EMBD, IE_DIM_ONE},
	{"attn_norm.weight", LAYER(attn_norm), IE_DIM_EMBD, IE_DIM_ONE},
	{"attn_q.weight", LAYER(wq), IE_DIM_EMBD, IE_DIM_HEADS},
	{"attn_k.weight", LAYER(wk), IE_DIM_EMBD, IE_DIM_HEADS_KV},
	{"attn_v.weight", LAYER(wv), IE_DIM_EMBD, IE_DIM_HEADS_KV},
	{"attn_output.weight", LAYER(wo), IE_DIM_HEADS, IE_DIM_EMBD},
	{"ffn_norm.weight", LAYER(ffn_norm), IE_DIM_EMBD, IE_DIM_ONE},
	{"ffn_gate.weight", LAYER(w_gate), IE_DIM_EMBD, IE_DIM_FF},
	{"ffn_up.weight", LAYER(w_up), IE_DIM_EMBD, IE_DIM_FF},
	{"ffn_down.weight", LAYER(w_down), IE_DIM_FF, IE_DIM_EMBD},
};

static ie_code
attention(ie_pass *pass, uint32_t l, ie_tile *tile, ie_error *err)
{
	const ie_layer *w = &pass->weights->layers[l];
	const bool	narrows = ie_layer_narrows(pass, l);
	const ie_product kvq[] = {
		{&w->wk, pass->k, w->wk.n_out, false},
		{&w->wv, ie_layer_values(pass, tile), w->wv.n_out, false},
		{&w->wq, pass->q, w->wq.n_out, false}
	};
	ie_product	o = {&w->wo, NULL, w->wo.n_out, true};
	ie_rows		in;

	ie_layer_norm(pass, tile, w->attn_norm);
	in = ie_layer_rows(pass, pass->h, tile->T, kvq, 3);
	IE_TRY(ie_layer_matmul(pass, &in, kvq, narrows ? 2 : 3, err));
	ie_layer_store_keys(pass, tile);
	if (narrows)
	{
		ie_layer_narrow(pass, tile);
		if (tile->T == 0)
			return IE_OK;
		in = ie_layer_rows(pass, pass->h, tile->T, &kvq[2], 1);
		IE_TRY(ie_layer_matmul(pass, &in, &kvq[2], 1, err));
	}
	IE_TRY(ie_layer_attend(pass, l, tile, err));
	o.y = tile->x;				/* of the rows that are left */
	in = ie_layer_rows(pass, pass->q, tile->T, &o, 1);
	return ie_layer_matmul(pass, &in, &o, 1, err);
}

static ie_code
feed_forward(ie_pass *pass, uint32_t l, const ie_tile *tile, ie_error *err)
{
	const ie_layer *w = &pass->weights->layers[l];
	const ie_product gate_up[] = {
		{&w->w_gate, pass->gate, w->w_gate.n_out, false},
		{&w->w_up, pass->up, w->w_up.n_out, false}
	};
	const ie_product down = {&w->w_down, tile->x, w->w_down.n_out, true};
	ie_rows		in;

	ie_layer_norm(pass, tile, w->ffn_norm);
	in = ie_layer_rows(pass, pass->h, tile->T, gate_up, 2);
	IE_TRY(ie_layer_matmul(pass, &in, gate_up, 2, err));
	ie_layer_silu_mul(pass, tile);
	in = ie_layer_rows(pass, pass->gate, tile->T, &down, 1);
	return ie_layer_matmul(pass, &in, &down, 1, err);
}

static ie_code
layer(ie_pass *pass, uint32_t l, ie_tile *tile, ie_error *err)
{
	IE_TRY(attention(pass, l, tile, err));
	if (tile->T == 0)
		return IE_OK;
	ie_layer_trace(pass, "attn_out", (int) l, tile);
	IE_TRY(feed_forward(pass, l, tile, err));
	ie_layer_trace(pass, "out", (int) l, tile);
	return IE_OK;
}

const ie_arch ie_arch_llama = {
	"llama", keys, IE_LENGTH(keys), tensors, IE_LENGTH(tensors), layer
};

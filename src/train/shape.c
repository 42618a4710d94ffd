/*
 * shape.c
 *	  Layout of weights and parameters: see shape.h.
 */
#include "train/shape.h"

/* Put a linear behind what the block has already. */
static void
place(ie_train_shape *s, ie_linear *linear)
{
	linear->n_out = 0;
	linear->z = s->n_z;
	linear->w = s->block_weights;
	linear->a = s->block_params;
	s->n_z += linear->n_parts * s->r;
	s->block_params += linear->n_parts * s->r * linear->n_in;
	for (size_t i = 0; i < linear->n_parts; i++)
	{
		linear->b[i] = s->block_params;
		linear->n_out += linear->part_out[i];
		s->block_params += linear->part_out[i] * s->r;
	}
	s->block_weights += linear->n_out * linear->n_in;
}

void
ie_shape_init(const ie_config *config, size_t rank, size_t lookahead_count, float alpha,
			  ie_train_shape *shape)
{
	ie_train_shape s = {
		.L = config->n_layer, .C = config->n_embd, .H = config->n_head, .G = config->n_head_kv,
		.n_q = config->n_head / config->n_head_kv,
		.D = config->head_dim, .F = config->n_ff, .V = config->n_vocab,
		.K = lookahead_count, .r = rank,
		.scale = (real) alpha / (real) rank,
		.norm_eps = (real) config->norm_eps
	};

	s.linear[IE_QKV] = (ie_linear)
	{
		.n_in = s.C, .n_parts = 3,
		.part_out = {s.H * s.D, s.G * s.D, s.G * s.D},
		.part_name = {"attn_q", "attn_k", "attn_v"},
		.part_field = {offsetof(ie_layer, wq), offsetof(ie_layer, wk), offsetof(ie_layer, wv)}
	};
	s.linear[IE_O] = (ie_linear)
	{
		.n_in = s.H * s.D, .n_parts = 1, .part_out = {s.C}, .part_name = {"attn_output"},
		.part_field = {offsetof(ie_layer, wo)}
	};
	s.linear[IE_GATE_UP] = (ie_linear)
	{
		.n_in = s.C, .n_parts = 2, .part_out = {s.F, s.F}, .part_name = {"ffn_gate", "ffn_up"},
		.part_field = {offsetof(ie_layer, w_gate), offsetof(ie_layer, w_up)}
	};
	s.linear[IE_DOWN] = (ie_linear)
	{
		.n_in = s.F, .n_parts = 1, .part_out = {s.C}, .part_name = {"ffn_down"},
		.part_field = {offsetof(ie_layer, w_down)}
	};
	for (size_t i = 0; i < IE_N_LINEAR; i++)
		place(&s, &s.linear[i]);
	s.lookahead = s.L * s.block_params;
	s.n_params = s.lookahead + s.K * s.C;
	*shape = s;
}

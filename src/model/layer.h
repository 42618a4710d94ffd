/*
 * layer.h
 *	  The steps that an architecture's layer is made of.
 *
 * Each works on the rows of a tile and splits itself over the threads of the
 * pass; those that may take long poll for a stop on the way (IE_CANCELED).
 */
#ifndef IE_LAYER_H
#define IE_LAYER_H

#include "model/forward.h"

/* pass->h = rms_norm(tile->x) * weight */
void		ie_layer_norm(ie_pass *pass, const ie_tile *tile, const float *weight);

/*
 * x: [T, n_in] as input of n products (their y is not looked at), quantised
 * into pass->quantized if one of them wants that.  Valid until the next call.
 */
ie_rows		ie_layer_rows(ie_pass *pass, const float *x, size_t T, const ie_product *products,
						  size_t n);

/* y = (add ? y : 0) + x W^T for n products of the same x. */
ie_code		ie_layer_matmul(const ie_pass *pass, const ie_rows *x, const ie_product *products,
							size_t n, ie_error *err);

/* Where a product may write the values of the tile's rows: [T, G, D] */
float	   *ie_layer_values(const ie_pass *pass, const ie_tile *tile);

/* Rotate the tile's keys in pass->k and put them, transposed, into pass->kt. */
void		ie_layer_store_keys(const ie_pass *pass, const ie_tile *tile);

/*
 * In the last layer only the needed rows go on after keys and values are
 * stored.  Is l that layer?  (Under a trace no layer is.)
 */
bool		ie_layer_narrows(const ie_pass *pass, uint32_t l);

/* Narrow the tile, and pass->h with it, to its needed rows, of which T may be 0. */
void		ie_layer_narrow(ie_pass *pass, ie_tile *tile);

/* Rotate the queries in pass->q, attend causally, leave the result in pass->q. */
ie_code		ie_layer_attend(const ie_pass *pass, uint32_t l, const ie_tile *tile, ie_error *err);

/* pass->gate = silu(pass->gate) * pass->up */
void		ie_layer_silu_mul(const ie_pass *pass, const ie_tile *tile);

/* layer: see ie_trace_event */
void		ie_layer_trace(const ie_pass *pass, const char *point, int layer, const ie_tile *tile);

#endif							/* IE_LAYER_H */

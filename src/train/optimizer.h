/*
 * optimizer.h
 *	  From gradients to parameters: clipping and AdamW (Loshchilov & Hutter 2019).
 */
#ifndef IE_OPTIMIZER_H
#define IE_OPTIMIZER_H

#include "train/trainer.h"

/* Learning rate of a step (from 0): linear warm-up, then cosine to 2 % of the highest */
double		ie_learning_rate(const ie_train_config *config, uint32_t step);

/* Doubles of scratch for n_params parameters: trainer->squares */
size_t		ie_optimizer_squares(size_t n_params);

/* Sum the lanes' gradients into the first lane's, in their order; returns their norm. */
double		ie_gradient_norm(ie_trainer *trainer);

/* Change parameters and moments by the first lane's gradient times factor. */
void		ie_adamw(ie_trainer *trainer, double factor, double learning_rate);

#endif							/* IE_OPTIMIZER_H */

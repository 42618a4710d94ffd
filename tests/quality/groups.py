"""Neighbours and groups of embeddings, in numpy: what compares every text of a set with
every other.  Rows are of unit length."""
import numpy as np


def nearest_neighbours(e, labels, k=5):
    """Accuracy of the vote of the k nearest others; the more similar win a draw."""
    similarity = e @ e.T
    np.fill_diagonal(similarity, -9)
    k = min(k, len(e) - 1)
    top = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    votes = np.zeros((len(e), labels.max() + 1))
    rows = np.arange(len(e))[:, None]
    np.add.at(votes, (rows, labels[top]), 1 + 1e-3 * similarity[rows, top])
    return float((votes.argmax(1) == labels).mean())


def squared_distances(e, centres):
    return np.maximum(1 + (centres * centres).sum(1)[None] - 2 * e @ centres.T, 0)


def k_means(e, k, restarts=10, steps=50, seed=0):
    """Group of each row; of several starts (k-means++) the one with the least inertia."""
    rng = np.random.default_rng(seed)
    best = None, np.inf
    for _ in range(restarts):
        centres = e[[rng.integers(len(e))]]
        while len(centres) < k:
            d = squared_distances(e, centres).min(1).astype(float) + 1e-12
            centres = np.concatenate([centres, e[[rng.choice(len(e), p=d / d.sum())]]])
        own = None
        for _ in range(steps):
            d = squared_distances(e, centres)
            before, own = own, d.argmin(1)
            if before is not None and (own == before).all():
                break
            member = np.zeros((k, len(e)), np.float32)
            member[own, np.arange(len(e))] = 1
            n = member.sum(1, keepdims=True)
            centres = np.where(n > 0, member @ e / np.maximum(n, 1), centres)
        inertia = float(d.min(1).sum())
        if inertia < best[1]:
            best = own, inertia
    return best[0]


def v_measure(labels, groups):
    """Harmonic mean of homogeneity and completeness"""
    table = np.zeros((labels.max() + 1, groups.max() + 1))
    np.add.at(table, (labels, groups), 1 / len(labels))

    def entropy(p):
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    label, group, both = entropy(table.sum(1)), entropy(table.sum(0)), entropy(table)
    homogeneity = 1 - (both - group) / label if label else 1.0
    completeness = 1 - (both - label) / group if group else 1.0
    total = homogeneity + completeness
    return 2 * homogeneity * completeness / total if total else 0.0


def plane(e):
    """The two principal components, the larger first"""
    x = e - e.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, :2] * s[:2]

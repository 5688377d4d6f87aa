"""Computes the coefficients in ../src/math.rs.

Three fits, each of the lowest degree whose approximation error is below half of the rounding error of f32:

* exp(r) on |r| <= ln2/2, as 1 + r + r^2 (c2 + c3 r + ...), after the range reduction x = n ln2 + r;
* the tail of the normal distribution, scaled: exp(t^2/2) Phi(-t) = P(t) / Q(t) on t in [0, 14.5] (beyond it GELU
  underflows). All coefficients come out positive, so that neither sum cancels;
* tanh(x)/x - 1 = x^2 T(x^2) on |x| <= 0.55, where 1 - 2/(1 + exp(2x)) would cancel.

A fourth is for results that are quantized, with an error below 3 * 10^-5: (Phi(x) - 1/2)/x = R(x^2).

Each is a weighted least-squares fit in 60 digits on Chebyshev nodes, made minimax by Lawson's reweighting; the rational
one is linearised by its previous denominator (Sanathanan and Koerner). Coefficients are then rounded to f32 one at a
time and the remaining ones fitted again, so that the others compensate for the rounding of one.

    pip install mpmath==1.3.0 && python fit.py
"""
import struct
from mpmath import mp, mpf, matrix, lu_solve, cos, pi, log, exp, erfc, sqrt, tanh

mp.dps = 60


def f32(x):
    """x rounded to the nearest f32, as an mpf."""
    return mpf(struct.unpack("<f", struct.pack("<f", float(x)))[0])


def nodes(lo, hi, n):
    return [(lo + hi) / 2 + (hi - lo) / 2 * cos(pi * (2 * i + 1) / (2 * n)) for i in range(n)]


def solve(columns, target, weight):
    """Weighted least squares by the normal equations (60 digits leave room for their condition)."""
    n, m = len(target), len(columns)
    a, b = matrix(m, m), matrix(m, 1)
    for i in range(m):
        for j in range(i, m):
            a[i, j] = a[j, i] = sum(weight[p] * columns[i][p] * columns[j][p] for p in range(n))
        b[i] = sum(weight[p] * columns[i][p] * target[p] for p in range(n))
    return list(lu_solve(a, b))


def fit(basis, target, relative_to, points, rounds=12):
    """Coefficients c minimising max |sum c_i basis_i - target| / relative_to, rounded to f32 in the given order."""
    fixed = []
    for step in range(len(basis) + 1):
        free = basis[len(fixed):]
        rest = [t - sum(c * b(p) for c, b in zip(fixed, basis)) for t, p in zip(target, points)]
        scale = [1 / relative_to(p) ** 2 for p in points]
        lawson = [mpf(1)] * len(points)
        c = []
        if free:
            cols = [[b(p) for p in points] for b in free]
            for _ in range(rounds):
                w = [s * l for s, l in zip(scale, lawson)]
                c = solve(cols, rest, w)
                err = [abs(sum(ci * col[i] for ci, col in zip(c, cols)) - rest[i]) / relative_to(p) for i, p in enumerate(points)]
                mean = sum(err) / len(err) + mpf(10) ** -50
                lawson = [l * (e / mean + mpf("0.05")) for l, e in zip(lawson, err)]
                total = sum(lawson)
                lawson = [l / total for l in lawson]
            fixed.append(f32(c[0]))
    worst = max(abs(sum(ci * b(p) for ci, b in zip(fixed, basis)) - t) / relative_to(p) for t, p in zip(target, points))
    return fixed, worst


def power(k):
    return lambda p: p ** k


def report(name, coefficients, worst):
    print(f"{name}: worst relative error {float(worst):.2e} = {float(worst * 2**24):.3f} half ulp")
    for i, c in enumerate(coefficients):
        print(f"    {i}: {float(c):.9e}")


def fit_exp():
    half = log(2) / 2 * mpf("1.001")
    pts = nodes(-half, half, 60)
    c, _ = fit([power(k) for k in range(2, 7)], [exp(p) - 1 - p for p in pts], lambda p: exp(p), pts)
    value = lambda p: 1 + p + sum(ci * p ** (k + 2) for k, ci in enumerate(c))
    report("exp: c2..c6", c, max(abs(value(p) / exp(p) - 1) for p in nodes(-half, half, 301)))


def fit_tanh():
    edge = mpf("0.56")
    pts = nodes(mpf("1e-4"), edge, 60)
    c, _ = fit([power(2 * k + 2) for k in range(5)], [tanh(p) / p - 1 for p in pts], lambda p: tanh(p) / p, pts)
    report("tanh: t0..t4", c, max(abs((1 + sum(ci * p ** (2 * k + 2) for k, ci in enumerate(c))) * p / tanh(p) - 1) for p in nodes(mpf("1e-4"), edge, 301)))


def fit_tail(top, bottom, edge=mpf("14.5")):
    """P of degree `top`, Q of degree `bottom` with Q(0) = 1."""
    g = lambda p: exp(p * p / 2) * erfc(p / sqrt(2)) / 2
    # Denser near zero, where the function changes fastest: nodes in u = t / (1 + t).
    us = nodes(mpf(0), edge / (1 + edge), 90)
    pts = [u / (1 - u) for u in us]
    values = [g(p) for p in pts]
    q_old = [mpf(1)] * len(pts)
    lawson = [mpf(1)] * len(pts)
    for _ in range(40):
        cols = [[p ** k for p in pts] for k in range(top + 1)] + [[-v * p ** k for p, v in zip(pts, values)] for k in range(1, bottom + 1)]
        w = [l / (v * q) ** 2 for l, v, q in zip(lawson, values, q_old)]
        c = solve(cols, values, w)
        ps, qs = c[:top + 1], [mpf(1)] + c[top + 1:]
        q_old = [sum(k_c * p ** k for k, k_c in enumerate(qs)) for p in pts]
        err = [abs(sum(k_c * p ** k for k, k_c in enumerate(ps)) / q / v - 1) for p, q, v in zip(pts, q_old, values)]
        mean = sum(err) / len(err)
        lawson = [l * (e / mean + mpf("0.05")) for l, e in zip(lawson, err)]
        total = sum(lawson)
        lawson = [l / total * len(pts) for l in lawson]
    # The denominator is rounded first; the numerator, which is linear once Q is known, is fitted again to it.
    qs = [f32(q) for q in qs]
    q = lambda p: sum(k_c * p ** k for k, k_c in enumerate(qs))
    ps, _ = fit([power(k) for k in range(top + 1)], [g(p) * q(p) for p in pts], lambda p: g(p) * q(p), pts)
    check = [u / (1 - u) for u in nodes(mpf(0), edge / (1 + edge), 400)]
    worst = max(abs(sum(k_c * p ** k for k, k_c in enumerate(ps)) / q(p) / g(p) - 1) for p in check)
    report(f"tail {top}/{bottom}: P", ps, worst)
    report(f"tail {top}/{bottom}: Q", qs, worst)


def fit_short(degree=8, edge=mpf("4.4")):
    """(Phi(x) - 1/2) / x as a polynomial in x^2 for |x| <= edge; for larger |x|, Phi counts as 0 or 1. The error of GELU is
    that of the polynomial times x^2."""
    pts = nodes(mpf("1e-3"), edge, 80)
    phi = lambda p: erfc(-p / sqrt(2)) / 2
    c, _ = fit([power(2 * k) for k in range(degree + 1)], [(phi(p) - mpf(1) / 2) / p for p in pts], lambda p: 1 / (p * p + mpf("0.02")), pts, rounds=40)
    value = lambda p: p * (mpf(1) / 2 + p * sum(ci * p ** (2 * k) for k, ci in enumerate(c)))
    worst = max(abs(value(p) - p * phi(p)) for p in nodes(mpf(0), edge, 801))
    print(f"GELU of a quantized product: worst error {float(worst):.2e}, at the edge Phi - 1/2 is {float(edge * sum(ci * edge ** (2 * k) for k, ci in enumerate(c))):.8f}")
    for i, ci in enumerate(c):
        print(f"    {i}: {float(ci):.9e}")


if __name__ == "__main__":
    fit_exp()
    fit_tanh()
    fit_tail(4, 5)
    fit_tail(5, 6)
    fit_short()

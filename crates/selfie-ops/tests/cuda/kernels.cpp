// The kernels against their definitions, and their gradients against central differences in f64. Reads from standard input
// lines of dropout's decisions: seed, step, layer, words below which are dropped, first index, and a 0 or 1 for each element.
#include "emulate.h"

#include <iostream>
#include <sstream>
#include <string>

#ifndef SUM
#define SUM double
#endif

#include "../../src/cuda/kernels/numbers.cu"
#include "../../src/cuda/kernels/norm.cu"
#include "../../src/cuda/kernels/conv.cu"
#include "../../src/cuda/kernels/pool.cu"
#include "../../src/cuda/kernels/rows.cu"
#include "../../src/cuda/kernels/order.cu"
#include "../../src/cuda/kernels/attention.cu"
#include "../../src/cuda/kernels/optimizer.cu"

typedef std::vector<double> Values;

static int n_checks = 0;

static void near(const std::string& what, double got, double expected, double tolerance) {
    n_checks++;
    if (std::abs(got - expected) <= tolerance * (1 + std::abs(expected))) return;
    std::cerr << what << ": expected " << expected << ", got " << got << "\n";
    std::exit(1);
}

static void near(const std::string& what, const Values& got, const Values& expected, double tolerance) {
    for (size_t i = 0; i < expected.size(); i++) near(what + " " + std::to_string(i), got[i], expected[i], tolerance);
}

static double random_number() {
    static unsigned long long state = 88172645463325252ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0 * 4 - 2;
}

static Values random_values(size_t n) {
    Values values(n);
    for (double& value : values) value = random_number();
    return values;
}

static u32 up(u32 a, u32 b) { return (a + b - 1) / b; }

#define DROPOUT_OF(d) d.seed_low, d.seed_high, d.step, d.layer, d.drop_below, d.drops, d.keep_scale

#ifdef STORED_BF16

typedef std::vector<STORED> Map;
typedef std::vector<SUM> Sums;

static Map random_map(size_t n) {
    Map map(n);
    for (STORED& value : map) value = store((SUM)random_number());
    return map;
}

static void bf16_is_rounded_to_the_nearest_and_among_equals_to_the_even() {
    auto rounded = [](float value) { return (double)load(store((SUM)value)); };
    near("1", rounded(1.0f), 1.0, 0);
    near("tie down", rounded(1.00390625f), 1.0, 0);
    near("tie up", rounded(1.01171875f), 1.015625, 0);
    near("above a tie", rounded(1.0039064f), 1.0078125, 0);
    near("negative", rounded(-3.14159274f), -3.140625, 0);
    near("NaN", std::isnan(rounded(NAN)), 1, 0);
    near("infinity", std::isinf(rounded(3.4e38f)), 1, 0);
    Sums all(2500);
    for (SUM& value : all) value = random_number();
    Map kept(all.size());
    launch({up(up(all.size(), 4), 256)}, {256}, round_all, all.data(), kept.data(), (u32)all.size());
    Sums back(all.size());
    launch({up(all.size(), 256)}, {256}, to_sums, kept.data(), back.data(), (u32)all.size());
    for (size_t i = 0; i < all.size(); i++) near("round_all", back[i], load(store(all[i])), 0);
}

// Mean and unbiased variance of a map's channels, [2, channels], by the kernels; with `added`, of the sum, which goes to `joined`.
static Sums statistics_of(const Map& x, const Map* added, Map* joined, u32 channels, Sums& norm) {
    u32 rows = x.size() / channels, packs = channels / WIDE, of_piece = 40, pieces = up(rows, of_piece);
    Sums partial(pieces * 2 * channels, NAN), statistics(2 * channels, NAN), gain(channels, 1.5f), bias(channels, 0.25f);
    norm.assign(4 * channels, NAN);
    dim3 block{std::min(packs, 32u), 8}, grid{pieces, up(packs, block.x)};
    launch(grid, block, moments_wide, x.data(), added ? added->data() : nullptr, joined ? joined->data() : nullptr,
           partial.data(), rows, packs, of_piece);
    launch({up(channels, 32)}, {32, 32}, norm_of_moments, partial.data(), pieces, of_piece, channels, rows, gain.data(),
           bias.data(), 1e-5, norm.data(), statistics.data());
    return statistics;
}

static void norms_of_bf16_maps_are_as_defined() {
    u32 rows = 77, channels = 40 * WIDE, packs = 40;
    Map x = random_map(rows * channels), other = random_map(x.size()), joined(x.size());
    Sums norm;
    Sums statistics = statistics_of(x, &other, &joined, channels, norm);
    for (size_t i = 0; i < x.size(); i++) near("sum", load(joined[i]), load(store(load(x[i]) + load(other[i]))), 0);
    for (u32 c = 0; c < channels; c++) {
        double mean = 0, var = 0;
        for (u32 r = 0; r < rows; r++) mean += load(joined[r * channels + c]) / rows;
        for (u32 r = 0; r < rows; r++) var += std::pow(load(joined[r * channels + c]) - mean, 2) / (rows - 1);
        near("mean", statistics[c], mean, 1e-6);
        near("variance", statistics[channels + c], var, 1e-5);
    }
    dim3 block{32, 8}, grid{up(rows, 64), 2};
    Map y(x.size()), plain(x.size());
    launch(grid, block, join_shortcut_wide, x.data(), norm.data(), other.data(), norm.data(), y.data(), rows, packs, 64u);
    launch(grid, block, join_shortcut_wide, x.data(), norm.data(), other.data(), nullptr, plain.data(), rows, packs, 64u);
    Sums line(2 * channels);
    for (SUM& value : line) value = random_number();
    Map dx(x.size());
    launch(grid, block, norm_backward_wide, other.data(), x.data(), norm.data(), line.data(), joined.data(), dx.data(), rows,
           packs, 64u, 1);
    for (size_t i = 0; i < y.size(); i++) {
        u32 c = i % channels;
        SUM z = load(x[i]) * norm[c] + norm[channels + c], s = load(other[i]);
        near("joined", load(y[i]), std::max(z + s * norm[c] + norm[channels + c], 0.0f), 1 / 256.0);
        near("joined, plain", load(plain[i]), std::max(z + s, 0.0f), 1 / 256.0);
        SUM dz = z > 0 ? s : 0;
        near("backward", load(dx[i]), norm[c] * dz + line[c] * load(x[i]) + line[channels + c] + load(joined[i]), 1 / 256.0);
    }
}

// A first row unlike all others takes no digits from the variance.
static void an_outlier_in_the_first_row_spoils_no_variance() {
    u32 rows = 20000, channels = WIDE;
    Map x(rows * channels, store(0.25f));
    x[0] = store(7.3125f);
    Sums norm;
    Sums statistics = statistics_of(x, nullptr, nullptr, channels, norm);
    double delta = 7.0625, mean = 0.25 + delta / rows;
    near("mean", statistics[0], mean, 1e-6);
    near("variance", statistics[channels] * 1e3, 1e3 * (delta * delta / rows - delta * delta / rows / rows) * rows / (rows - 1), 1e-4);
    near("no variance", statistics[channels + 1], 0, 0);
}

int main() {
    for (bool order : {false, true}) {
        backwards = order;
        bf16_is_rounded_to_the_nearest_and_among_equals_to_the_even();
        norms_of_bf16_maps_are_as_defined();
        an_outlier_in_the_first_row_spoils_no_variance();
    }
    std::cout << n_checks << " checks\n";
}

#else

// The gradient of sum f(x) · weights against what `got` says, for every element.
static void gradient(const std::string& what, Values x, const Values& weights, const Values& got,
                     const std::function<Values(const Values&)>& f) {
    auto objective = [&](const Values& at) {
        Values y = f(at);
        double sum = 0;
        for (size_t i = 0; i < y.size(); i++) sum += y[i] * weights[i];
        return sum;
    };
    for (size_t i = 0; i < x.size(); i++) {
        double before = x[i], step = 1e-5;
        x[i] = before + step;
        double above = objective(x);
        x[i] = before - step;
        double below = objective(x);
        x[i] = before;
        near(what + " " + std::to_string(i), got[i], (above - below) / (2 * step), 2e-7);
    }
}

struct NormResult {
    Values norm, statistics, y;
};

static NormResult batch_norm(const Values& x, u32 channels, const Values& gain, const Values& bias, bool wide) {
    u32 rows = x.size() / channels, packs = wide ? channels / WIDE : channels, of_piece = 5, pieces = up(rows, of_piece);
    Values partial(pieces * 2 * channels), y(x.size());
    NormResult result{Values(4 * channels), Values(2 * channels), Values(x.size())};
    dim3 block{std::min(packs, 4u), 3};
    dim3 grid{pieces, up(packs, block.x)};
    launch(grid, block, wide ? moments_wide : moments_single, x.data(), nullptr, nullptr, partial.data(), rows, packs, of_piece);
    launch({up(channels, 32)}, {32, 32}, norm_of_moments, partial.data(), pieces, of_piece, channels, rows, gain.data(),
           bias.data(), 1e-5, result.norm.data(), result.statistics.data());
    launch(grid, block, wide ? apply_norm_wide : apply_norm_single, x.data(), result.norm.data(), result.y.data(), rows, packs,
           of_piece, 1);
    return result;
}

static void norms_are_as_defined_and_have_exact_gradients() {
    for (bool wide : {false, true}) {
        u32 channels = 6, rows = 17;
        Values x = random_values(rows * channels), gain = random_values(channels), bias = random_values(channels);
        NormResult result = batch_norm(x, channels, gain, bias, wide);
        auto defined = [&](const Values& x, const Values& gain, const Values& bias) {
            Values y(x.size());
            for (u32 c = 0; c < channels; c++) {
                double mean = 0, var = 0;
                for (u32 r = 0; r < rows; r++) mean += x[r * channels + c] / rows;
                for (u32 r = 0; r < rows; r++) var += std::pow(x[r * channels + c] - mean, 2) / rows;
                for (u32 r = 0; r < rows; r++) {
                    double z = (x[r * channels + c] - mean) / std::sqrt(var + 1e-5) * gain[c] + bias[c];
                    y[r * channels + c] = std::max(z, 0.0);
                }
            }
            return y;
        };
        near("norm", result.y, defined(x, gain, bias), 1e-12);

        Values dy = random_values(x.size()), line(2 * channels), dx(x.size()), d_gain(channels), d_bias(channels);
        u32 packs = wide ? channels / WIDE : channels, of_piece = 4, pieces = up(rows, of_piece);
        Values partial(pieces * 2 * channels);
        dim3 block{std::min(packs, 4u), 3}, grid{pieces, up(packs, block.x)};
        launch(grid, block, wide ? norm_backward_sums_wide : norm_backward_sums_single, dy.data(), x.data(), result.norm.data(),
               partial.data(), rows, packs, of_piece, 1);
        launch({up(channels, 32)}, {32, 32}, norm_backward_line, partial.data(), pieces, channels, rows, result.norm.data(),
               line.data(), d_gain.data(), d_bias.data());
        launch(grid, block, wide ? norm_backward_wide : norm_backward_single, dy.data(), x.data(), result.norm.data(),
               line.data(), nullptr, dx.data(), rows, packs, of_piece, 1);
        gradient("norm, x", x, dy, dx, [&](const Values& at) { return defined(at, gain, bias); });
        gradient("norm, gain", gain, dy, d_gain, [&](const Values& at) { return defined(x, at, bias); });
        gradient("norm, bias", bias, dy, d_bias, [&](const Values& at) { return defined(x, gain, at); });
    }
}

static void running_norms_maps_and_masks_are_as_defined() {
    u32 rows = 9, channels = 5, n = rows * channels;
    Values running = random_values(2 * channels), gain = random_values(channels), bias = random_values(channels);
    for (u32 c = 0; c < channels; c++) running[channels + c] = std::abs(running[channels + c]);
    Values norm(4 * channels), x = random_values(n), other = random_values(n), y(n), sum(n), mask(n);
    launch({1}, {64}, norm_of_running, running.data(), channels, gain.data(), bias.data(), 1e-5, norm.data());
    launch({up(rows, 4)}, {5, 3}, apply_norm_single, x.data(), norm.data(), y.data(), rows, channels, 4u, 0);
    Values joined(n);
    launch({up(rows, 4)}, {5, 3}, join_shortcut_single, x.data(), norm.data(), other.data(), norm.data(), joined.data(), rows,
           channels, 4u);
    launch({up(n, 16)}, {16}, add_maps, x.data(), other.data(), sum.data(), n);
    launch({up(n, 16)}, {16}, mask_by_output, x.data(), other.data(), mask.data(), n);
    for (u32 i = 0; i < n; i++) {
        u32 c = i % channels;
        near("running", y[i], (x[i] - running[c]) / std::sqrt(running[channels + c] + 1e-5) * gain[c] + bias[c], 1e-12);
        double shortcut = other[i] * norm[c] + norm[channels + c];
        near("joined", joined[i], std::max(x[i] * norm[c] + norm[channels + c] + shortcut, 0.0), 1e-14);
        near("sum of maps", sum[i], x[i] + other[i], 0);
        near("mask", mask[i], other[i] > 0 ? x[i] : 0, 0);
    }
    // Running statistics are constants: the gradient is the scale alone.
    Values dy = random_values(n), line(2 * channels), d_gain(channels), d_bias(channels), dx(n), partial(2 * 2 * channels);
    launch({2}, {5, 3}, norm_backward_sums_single, dy.data(), x.data(), norm.data(), partial.data(), rows, channels, 5u, 0);
    launch({1}, {32, 32}, norm_backward_line, partial.data(), 2u, channels, 0u, norm.data(), line.data(), d_gain.data(),
           d_bias.data());
    launch({up(rows, 4)}, {5, 3}, norm_backward_single, dy.data(), x.data(), norm.data(), line.data(), other.data(), dx.data(),
           rows, channels, 4u, 0);
    for (u32 i = 0; i < n; i++) near("running, backward", dx[i], dy[i] * norm[i % channels] + other[i], 1e-13);
}

static void rows_are_finished_added_and_taken_as_defined() {
    Dropout none{0, 0, 0, 0, 0, 0, 0.0}, some{7, 1, 3, 2, 1u << 30, 1, 1 / 0.75};
    u32 images = 5, tokens = 3, width = 10, n = images * width, step = tokens * width;
    Values y = random_values(n), bias = random_values(width), all = random_values(n * tokens);
    for (const Dropout& dropout : {none, some}) {
        Values finished = y, alone = y, taken(n), dropped_all(all.size());
        launch({1}, {64}, finish_rows, finished.data(), bias.data(), all.data(), step, n, width, step, DROPOUT_OF(dropout));
        launch({1}, {64}, finish_rows, alone.data(), bias.data(), nullptr, 0u, n, width, step, DROPOUT_OF(dropout));
        launch({1}, {64}, to_stored, all.data(), step, taken.data(), n, width, step, DROPOUT_OF(dropout));
        launch({up(all.size(), 64)}, {64}, drop, all.data(), dropped_all.data(), (u32)all.size(), DROPOUT_OF(dropout));
        for (u32 i = 0; i < n; i++) {
            u32 row = i / width, c = i % width, at = row * step + c;
            near("finished", finished[i], dropped(y[i] + bias[c], dropout, at) + all[at], 1e-14);
            near("finished alone", alone[i], dropped(y[i] + bias[c], dropout, at), 1e-14);
            near("taken", taken[i], dropped(all[at], dropout, at), 0);
        }
        for (u32 i = 0; i < all.size(); i++) near("dropped", dropped_all[i], dropped(all[i], dropout, i), 0);
    }
    near("an infinity that is dropped", dropped(INFINITY, Dropout{7, 1, 3, 2, ~0u, 1, 2.0}, 0), 0, 0);
    Values sum = all, sums(width), partial(up(n / width, 2) * width);
    launch({1}, {64}, add_rows, sum.data(), step, y.data(), n, width);
    launch({up(images, 2), up(width, 4)}, {4, 3}, column_sums, y.data(), partial.data(), images, width, 2u);
    launch({1}, {32, 8}, join_sums, partial.data(), up(images, 2), sums.data(), width);
    for (u32 i = 0; i < all.size(); i++) {
        u32 row = i / width;
        near("added", sum[i], all[i] + (row % tokens ? 0 : y[row / tokens * width + i % width]), 0);
    }
    for (u32 c = 0; c < width; c++) {
        double expected = 0;
        for (u32 r = 0; r < images; r++) expected += y[r * width + c];
        near("column", sums[c], expected, 1e-14);
    }
}

static void columns_are_as_defined_and_fold_is_their_transpose() {
    for (u32 kernel : {1u, 3u, 7u}) {
        for (u32 stride : {1u, 2u}) {
            for (bool wide : {false, true}) {
                u32 images = 2, height = 5, width = 6, channels = 4, padding = kernel / 2;
                u32 out_height = (height + 2 * padding - kernel) / stride + 1;
                u32 out_width = (width + 2 * padding - kernel) / stride + 1;
                u32 rows = images * out_height * out_width, depth = kernel * kernel * channels;
                Values x = random_values(images * height * width * channels), norm = random_values(4 * channels);
                Values columns(rows * depth), expected(rows * depth);
                u32 packs = channels / WIDE, of_piece = 7;
                if (wide) {
                    launch({up(rows, of_piece)}, {packs, 3}, unfold_wide, x.data(), norm.data(), columns.data(), rows, packs,
                           of_piece, height, width, out_height, out_width, kernel, stride, padding);
                } else {
                    launch({up(rows * depth, 64)}, {64}, unfold_single, x.data(), norm.data(), columns.data(), rows * depth,
                           channels, height, width, out_height, out_width, kernel, stride, padding);
                }
                for (u32 row = 0; row < rows; row++) {
                    u32 image = row / (out_height * out_width), oy = row / out_width % out_height, ox = row % out_width;
                    for (u32 tap = 0; tap < kernel * kernel; tap++) {
                        int y = (int)(oy * stride + tap / kernel) - (int)padding, at = (int)(ox * stride + tap % kernel) - (int)padding;
                        bool inside = y >= 0 && y < (int)height && at >= 0 && at < (int)width;
                        for (u32 c = 0; c < channels; c++) {
                            double value = inside ? x[((image * height + y) * width + at) * channels + c] : 0;
                            double active = std::max(value * norm[c] + norm[channels + c], 0.0);
                            expected[(row * kernel * kernel + tap) * channels + c] = inside ? active : 0;
                        }
                    }
                }
                near("columns", columns, expected, 1e-14);

                // <unfold(x), d> = <x, fold(d)>
                Values d = random_values(rows * depth), plain(rows * depth), dx(x.size());
                if (wide) {
                    launch({up(rows, of_piece)}, {packs, 3}, unfold_wide, x.data(), nullptr, plain.data(), rows, packs, of_piece,
                           height, width, out_height, out_width, kernel, stride, padding);
                } else {
                    launch({up(rows * depth, 64)}, {64}, unfold_single, x.data(), nullptr, plain.data(), rows * depth, channels,
                           height, width, out_height, out_width, kernel, stride, padding);
                }
                u32 n = wide ? x.size() / WIDE : x.size();
                launch({up(n, 64)}, {64}, wide ? fold_wide : fold_single, d.data(), nullptr, dx.data(), n,
                       wide ? packs : channels, height, width, out_height, out_width, kernel, stride, padding);
                double left = 0, right = 0;
                for (size_t i = 0; i < d.size(); i++) left += plain[i] * d[i];
                for (size_t i = 0; i < x.size(); i++) right += x[i] * dx[i];
                near("fold", right, left, 1e-12);
                Values added = random_values(x.size()), more(x.size());
                launch({up(n, 64)}, {64}, wide ? fold_wide : fold_single, d.data(), added.data(), more.data(), n,
                       wide ? packs : channels, height, width, out_height, out_width, kernel, stride, padding);
                for (size_t i = 0; i < x.size(); i++) near("fold, added", more[i], dx[i] + added[i], 1e-14);
            }
        }
    }
}

struct Attention {
    u32 images, heads, queries, tokens, width, step_q, step_kv;
    size_t key;
};

static double keep_of(const Attention& a, const Dropout& dropout, u32 image, u32 head, u32 i, u32 j) {
    return dropped(1, dropout, ((u64)(image * a.heads + head) * a.tokens + i) * a.tokens + j);
}

// The pooled values, by definition.
static Values attend(const Attention& a, const Values& q, const Values& kv, const Dropout& dropout) {
    Values pooled(a.images * a.queries * a.heads * a.width);
    for (u32 image = 0; image < a.images; image++) {
        for (u32 head = 0; head < a.heads; head++) {
            for (u32 i = 0; i < a.queries; i++) {
                const double* query = &q[(image * a.queries + i) * a.step_q + head * a.width];
                auto key = [&](u32 j) { return &kv[(image * a.tokens + j) * a.step_kv + head * a.width + a.key]; };
                auto value = [&](u32 j) { return key(j) + a.heads * a.width; };
                Values scores(a.tokens);
                double sum = 0;
                for (u32 j = 0; j < a.tokens; j++) {
                    for (u32 c = 0; c < a.width; c++) scores[j] += query[c] * key(j)[c] / std::sqrt(a.width);
                    sum += std::exp(scores[j]);
                }
                for (u32 j = 0; j < a.tokens; j++) {
                    double kept = std::exp(scores[j]) / sum * keep_of(a, dropout, image, head, i, j);
                    for (u32 c = 0; c < a.width; c++) {
                        pooled[((image * a.queries + i) * a.heads + head) * a.width + c] += kept * value(j)[c];
                    }
                }
            }
        }
    }
    return pooled;
}

static void attention_is_as_defined_and_has_exact_gradients() {
    Dropout none{0, 0, 0, 0, 0, 0, 0.0}, some{7, 1, 3, 2, 1u << 30, 1, 1 / 0.75};
    for (const Dropout& dropout : {none, some}) {
        for (bool asks_once : {false, true}) {
            u32 d = 2 * 5;
            u32 tokens = 6;
            Attention a{2, 2, asks_once ? 1 : tokens, tokens, 5, asks_once ? d : 3 * d, asks_once ? 2 * d : 3 * d, asks_once ? 0 : d};
            // Where every token asks, queries, keys and values lie side by side.
            Values q = random_values(a.images * a.queries * a.step_q);
            Values kv = asks_once ? random_values(a.images * a.tokens * a.step_kv) : q;
            const double *k = kv.data() + a.key, *v = k + d;
            Values probs(a.images * a.heads * a.queries * a.tokens), pooled(a.images * a.queries * d);
            dim3 grid{a.images * a.heads}, block{32, 4};
            launch(grid, block, attention, q.data(), k, v, probs.data(), pooled.data(), a.heads, a.queries, a.tokens, a.width,
                   a.step_q, a.step_kv, DROPOUT_OF(dropout));
            near("attention", pooled, attend(a, q, kv, dropout), 1e-13);

            Values d_pooled = random_values(pooled.size()), d_scores(probs.size()), dq(q.size()), dkv(kv.size());
            double *dk = asks_once ? dkv.data() : dq.data() + d, *dv = dk + d;
            launch(grid, block, attention_backward_queries, k, v, probs.data(), d_pooled.data(), d_scores.data(), dq.data(),
                   a.heads, a.queries, a.tokens, a.width, a.step_q, a.step_kv, DROPOUT_OF(dropout));
            launch(grid, block, attention_backward_tokens, q.data(), probs.data(), d_pooled.data(), d_scores.data(), dk, dv,
                   a.heads, a.queries, a.tokens, a.width, a.step_q, a.step_kv, DROPOUT_OF(dropout));
            if (asks_once) {
                gradient("attention, q", q, d_pooled, dq, [&](const Values& at) { return attend(a, at, kv, dropout); });
                gradient("attention, kv", kv, d_pooled, dkv, [&](const Values& at) { return attend(a, q, at, dropout); });
            } else {
                gradient("attention, qkv", q, d_pooled, dq, [&](const Values& at) { return attend(a, at, at, dropout); });
            }
        }
    }
}

static void layer_norms_are_as_defined_and_have_exact_gradients() {
    u32 rows = 11, width = 37;
    Values x = random_values(rows * width), gain = random_values(width), bias = random_values(width), y(x.size());
    auto defined = [&](const Values& x, const Values& gain, const Values& bias) {
        Values y(x.size());
        for (u32 r = 0; r < rows; r++) {
            double mean = 0, var = 0;
            for (u32 c = 0; c < width; c++) mean += x[r * width + c] / width;
            for (u32 c = 0; c < width; c++) var += std::pow(x[r * width + c] - mean, 2) / width;
            for (u32 c = 0; c < width; c++) {
                y[r * width + c] = (x[r * width + c] - mean) / std::sqrt(var + 1e-5) * gain[c] + bias[c];
            }
        }
        return y;
    };
    launch({up(rows, 8)}, {32, 8}, layer_norm, x.data(), gain.data(), bias.data(), y.data(), rows, width, 1e-5);
    near("layer norm", y, defined(x, gain, bias), 1e-12);
    Values dy = random_values(x.size()), dx(x.size()), moments(2 * rows), sums(2 * width);
    launch({up(rows, 8)}, {32, 8}, layer_norm_backward, x.data(), gain.data(), dy.data(), dx.data(), moments.data(), rows, width,
           1e-5);
    u32 of_piece = 4, pieces = up(rows, of_piece);
    Values partial(pieces * 2 * width);
    launch({pieces, up(width, 8)}, {8, 3}, layer_norm_sums, x.data(), dy.data(), moments.data(), partial.data(), rows, width,
           of_piece);
    launch({up(2 * width, 32)}, {32, 8}, join_sums, partial.data(), pieces, sums.data(), 2 * width);
    gradient("layer norm, x", x, dy, dx, [&](const Values& at) { return defined(at, gain, bias); });
    gradient("layer norm, gain", gain, dy, sums, [&](const Values& at) { return defined(x, at, bias); });
    Values d_bias(sums.begin() + width, sums.end());
    gradient("layer norm, bias", bias, dy, d_bias, [&](const Values& at) { return defined(x, gain, at); });
}

static void gelu_is_as_defined_and_has_exact_gradients() {
    Values x = random_values(50), dy = random_values(50), y(50), dx(50), before = x, bias(10, 0.0);
    auto defined = [](const Values& x) {
        Values y(x.size());
        for (size_t i = 0; i < x.size(); i++) y[i] = 0.5 * x[i] * (1 + std::erf(x[i] / std::sqrt(2.0)));
        return y;
    };
    launch({1}, {64}, bias_gelu, before.data(), bias.data(), y.data(), 50u, 10u);
    near("GELU", y, defined(x), 1e-14);
    launch({1}, {64}, gelu_backward, x.data(), dy.data(), dx.data(), 50u);
    gradient("GELU", x, dy, dx, defined);
}

static void rows_go_in_order_and_come_back() {
    u32 images = 20, places = 3, width = 4, n = images * places * width;
    std::vector<u32> order;
    for (u32 image = 0; image < images; image++) {
        for (u32 place = 0; place < places; place++) order.push_back((place * (image % 2 + 1) + image) % places);
    }
    for (bool table : {false, true}) {
        u32 rows = table ? places : images * places;
        Values x = random_values(rows * width), y(n), dy = random_values(n), dx(rows * width);
        auto defined = [&](const Values& x) {
            Values y(n);
            for (u32 i = 0; i < n; i++) {
                u32 row = i / width, image = row / places;
                y[i] = x[((table ? 0 : image * places) + order[row]) * width + i % width];
            }
            return y;
        };
        launch({up(n, 64)}, {64}, rows_in_order, x.data(), order.data(), y.data(), n, places, width, table ? 0 : places);
        near("rows in order", y, defined(x), 0);
        if (table) {
            u32 pieces = up(images, 7), m = places * width;
            Values partial(pieces * m);
            launch({1, pieces}, {64}, sum_in_order, dy.data(), order.data(), partial.data(), m, places, width, images, 7u);
            launch({up(m, 32)}, {32, 8}, join_sums, partial.data(), pieces, dx.data(), m);
        } else {
            launch({up(n, 64)}, {64}, put_in_order, dy.data(), order.data(), dx.data(), n, places, width);
        }
        gradient(table ? "order of a table" : "order of images", x, dy, dx, defined);
    }
}

static void a_place_that_is_none_gives_zeros_and_gets_nothing() {
    std::vector<u32> order{1, 9};
    Values x{1, 2}, y(2, 7.0), dx(2, 0.0);
    launch({1}, {32}, rows_in_order, x.data(), order.data(), y.data(), 2u, 2u, 1u, 2u);
    near("no place", y, {2, 0}, 0);
    launch({1}, {32}, put_in_order, x.data(), order.data(), dx.data(), 2u, 2u, 1u);
    near("no place, backward", dx, {0, 1}, 0);
}

static void pools_have_exact_gradients() {
    u32 images = 2, height = 5, width = 6, channels = 3, out_height = 3, out_width = 3;
    Values x = random_values(images * height * width * channels), y(images * out_height * out_width * channels);
    std::vector<unsigned char> places(y.size());
    auto pooled = [&](const Values& x) {
        Values y(images * out_height * out_width * channels);
        std::vector<unsigned char> places(y.size());
        launch({up(y.size(), 64)}, {64}, max_pool, x.data(), y.data(), places.data(), (u32)y.size(), channels, height, width,
               out_height, out_width);
        return y;
    };
    launch({up(y.size(), 64)}, {64}, max_pool, x.data(), y.data(), places.data(), (u32)y.size(), channels, height, width,
           out_height, out_width);
    double first = -1e9;
    for (u32 row : {0u, 1u}) {
        for (u32 column : {0u, 1u}) first = std::max(first, x[(row * width + column) * channels]);
    }
    near("max pool", y[0], first, 0);
    Values dy = random_values(y.size()), dx(x.size());
    launch({up(x.size(), 64)}, {64}, max_pool_backward, dy.data(), places.data(), dx.data(), (u32)x.size(), channels, height,
           width, out_height, out_width);
    gradient("max pool", x, dy, dx, pooled);

    u32 cells = 2, side = 4;
    Values map = random_values(images * side * side * channels), means(images * cells * cells * channels);
    auto averaged = [&](const Values& map) {
        Values means(images * cells * cells * channels);
        launch({up(means.size(), 64)}, {64}, average_pool, map.data(), means.data(), (u32)means.size(), channels, side, side,
               cells);
        return means;
    };
    double mean = (map[0] + map[channels] + map[side * channels] + map[(side + 1) * channels]) / 4;
    near("average pool", averaged(map)[0], mean, 1e-14);
    Values d_means = random_values(means.size()), d_map(map.size());
    launch({up(map.size(), 64)}, {64}, average_pool_backward, d_means.data(), d_map.data(), (u32)map.size(), channels, side, side,
           cells);
    gradient("average pool", map, d_means, d_map, averaged);
}

static void cross_entropy_is_as_defined_and_has_exact_gradients() {
    u32 rows = 5, classes = 40;
    std::vector<u32> labels{0, 39, 7, 7, 20};
    Values x = random_values(rows * classes), probs(x.size()), losses(rows), loss(1), d_loss{0.7}, dx(x.size());
    double smoothing = 0.1;
    auto defined = [&](const Values& x) {
        Values loss(1);
        for (u32 r = 0; r < rows; r++) {
            double sum = 0;
            for (u32 c = 0; c < classes; c++) sum += std::exp(x[r * classes + c]);
            for (u32 c = 0; c < classes; c++) {
                double target = smoothing / classes + (labels[r] == c ? 1 - smoothing : 0);
                loss[0] -= target * (x[r * classes + c] - std::log(sum)) / rows;
            }
        }
        return loss;
    };
    launch({up(rows, 8)}, {32, 8}, cross_entropy, x.data(), labels.data(), smoothing, probs.data(), losses.data(), rows, classes);
    launch({1}, {256}, mean_of_all, losses.data(), loss.data(), rows);
    near("cross entropy", loss, defined(x), 1e-13);
    launch({up(x.size(), 64)}, {64}, cross_entropy_backward, probs.data(), labels.data(), smoothing, d_loss.data(), dx.data(),
           (u32)x.size(), rows, classes);
    gradient("cross entropy", x, d_loss, dx, defined);
}

static void weight_decay_reaches_its_ranges_alone() {
    Values target(10, 1.0), gradient_of(10, 0.0), other(10, 1.0);
    std::vector<u32> decayed{1, 3, 6, 7};
    launch({1}, {16}, momentum, target.data(), gradient_of.data(), other.data(), decayed.data(), 2u, 10u, 0.0, 0.5, 1.0, 0.0);
    near("momentum", target, {0, 0.5, 0.5, 0, 0, 0, 0.5, 0, 0, 0}, 0);
    Values moment(3, 1.0), second(3, 2.0), x{1, 2, 3};
    launch({1}, {16}, first_moment, moment.data(), x.data(), x.data(), nullptr, 0u, 3u, 0.9, 0.1, 0.5, 0.0);
    near("first moment", moment, {0.95, 1.0, 1.05}, 1e-15);
    launch({1}, {16}, second_moment, second.data(), x.data(), x.data(), nullptr, 0u, 3u, 0.9, 0.1, 0.5, 0.0);
    near("second moment", second, {1.825, 1.9, 2.025}, 1e-15);
    Values updated{1, 2, 3}, first{0.1, 0.2, 0.3}, root_of{4, 9, 16};
    std::vector<u32> last{2, 3};
    launch({1}, {16}, adamw, updated.data(), first.data(), root_of.data(), last.data(), 1u, 3u, 0.01, 0.5, 2.0, 1.0);
    near("AdamW", updated, {1 - 0.05 / 5, 2 - 0.1 / 7, 3 * 0.99 - 0.15 / 9}, 1e-15);
    Values nesterov{1, 2}, velocity{0.5, 0.25}, slope{4, 8};
    launch({1}, {16}, sgd_nesterov, nesterov.data(), velocity.data(), slope.data(), nullptr, 0u, 2u, 0.9, 0.1, 0.5, 0.1);
    near("SGD", nesterov, {1 - 0.1 * (2 + 0.45), 2 - 0.1 * (4 + 0.225)}, 1e-15);
    Values total{1, 2}, average{1, 2};
    launch({1}, {16}, accumulate, total.data(), slope.data(), slope.data(), nullptr, 0u, 2u, 0.0, 0.0, 0.0, 0.0);
    near("accumulate", total, {5, 10}, 0);
    launch({1}, {16}, exponential_average, average.data(), slope.data(), slope.data(), nullptr, 0u, 2u, 0.75, 0.25, 0.0, 0.0);
    near("average", average, {1.75, 3.5}, 1e-15);
    Values squares(4);
    Values many = random_values(1000);
    double expected = 0;
    for (double value : many) expected += value * value;
    launch({4}, {256}, sums_of_squares, many.data(), squares.data(), 1000u);
    near("squares", squares[0] + squares[1] + squares[2] + squares[3], expected, 1e-13);
}

// What selfie-random says on standard input.
static void dropout_draws_what_selfie_random_draws() {
    std::string line;
    int lines = 0;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        u64 seed, first;
        Dropout dropout{0, 0, 0, 0, 0, 1, 2.5};
        std::string kept;
        words >> seed >> dropout.step >> dropout.layer >> dropout.drop_below >> first >> kept;
        dropout.seed_low = (u32)seed;
        dropout.seed_high = (u32)(seed >> 32);
        for (size_t i = 0; i < kept.size(); i++) {
            near("dropout", dropped(1, dropout, first + i), kept[i] == '1' ? 2.5 : 0, 0);
        }
        lines++;
    }
    near("lines of dropout", lines > 0, 1, 0);
}

int main() {
    dropout_draws_what_selfie_random_draws();
    for (bool order : {false, true}) {
        backwards = order;
        norms_are_as_defined_and_have_exact_gradients();
        running_norms_maps_and_masks_are_as_defined();
        rows_are_finished_added_and_taken_as_defined();
        columns_are_as_defined_and_fold_is_their_transpose();
        attention_is_as_defined_and_has_exact_gradients();
        layer_norms_are_as_defined_and_have_exact_gradients();
        gelu_is_as_defined_and_has_exact_gradients();
        rows_go_in_order_and_come_back();
        a_place_that_is_none_gives_zeros_and_gets_nothing();
        pools_have_exact_gradients();
        cross_entropy_is_as_defined_and_has_exact_gradients();
        weight_decay_reaches_its_ranges_alone();
    }
    std::cout << n_checks << " checks\n";
}

#endif

// Multi-head attention over a few tokens. Queries [B, Q, H, E] lie in rows `step_q` apart, keys and values [B, S, H, E] in
// rows `step_kv` apart; probabilities are [B, H, Q, S]. Q is S, or 1 where the first token alone asks.

struct Heads {
    u32 heads, queries, tokens, width, step_q, step_kv;
};

#define HEADS_PARAMETERS u32 heads, u32 queries, u32 tokens, u32 width, u32 step_q, u32 step_kv
#define HEADS_ARGUMENTS Heads{heads, queries, tokens, width, step_q, step_kv}

// The product of two rows, by a whole warp.
__device__ inline SUM dot_of_warp(SumIn a, SumIn b, u32 width) {
    SUM sum = 0;
    for (u32 c = threadIdx.x; c < width; c += 32) sum += a[c] * b[c];
    return sum_over_warp(sum);
}

// The image and the head that a block is for; its warps take the tokens in turns.
struct Place {
    u32 image, head;
    Heads h;
    __device__ Place(const Heads& heads) : h(heads) {
        head = blockIdx.x % h.heads;
        image = blockIdx.x / h.heads;
    }
    __device__ size_t query(u32 i) const { return (size_t)(image * h.queries + i) * h.step_q + head * h.width; }
    __device__ size_t key(u32 j) const { return (size_t)(image * h.tokens + j) * h.step_kv + head * h.width; }
    __device__ size_t probs(u32 i) const { return ((size_t)(image * h.heads + head) * h.queries + i) * h.tokens; }
    // Where the pooled values of query i lie.
    __device__ size_t pooled(u32 i) const { return ((size_t)(image * h.queries + i) * h.heads + head) * h.width; }
    // As if every token asked.
    __device__ SUM kept(SUM value, const Dropout& dropout, u32 i, u32 j) const {
        return dropped(value, dropout, ((u64)(image * h.heads + head) * h.tokens + i) * h.tokens + j);
    }
    // For each token, the product of its key or value in `rows` with `row`, times `scale`. By a whole warp.
    __device__ void dots(SumIn row, SumIn rows, SUM scale, SUM* numbers) const {
        for (u32 j = 0; j < h.tokens; j++) {
            SUM dot = dot_of_warp(row, rows + key(j), h.width);
            if (threadIdx.x == 0) numbers[j] = dot * scale;
        }
        __syncwarp();
    }
    // The tokens' keys or values in `rows`, each times its number. By a whole warp.
    __device__ void mix(const SUM* numbers, SumIn rows, StoredOut mixed) const {
        __syncwarp();
        for (u32 c = threadIdx.x; c < h.width; c += 32) {
            SUM total = 0;
            for (u32 j = 0; j < h.tokens; j++) total += numbers[j] * rows[key(j) + c];
            mixed[c] = store(total);
        }
        __syncwarp();
    }
};

// Shared: a number for each token, for every warp.
extern "C" __global__ void attention(SumIn q, SumIn k, SumIn v, SumOut probs, StoredOut pooled, HEADS_PARAMETERS,
                                     DROPOUT_PARAMETERS) {
    Heads h = HEADS_ARGUMENTS;
    Dropout dropout = DROPOUT_ARGUMENTS;
    Place at(h);
    SUM* scores = reinterpret_cast<SUM*>(memory) + threadIdx.y * h.tokens;
    SUM scale = 1 / root((SUM)h.width);
    for (u32 i = threadIdx.y; i < h.queries; i += blockDim.y) {
        at.dots(q + at.query(i), k, scale, scores);
        SUM largest = scores[0], sum = 0;
        for (u32 j = threadIdx.x; j < h.tokens; j += 32) largest = larger(scores[j], largest);
        largest = largest_of_warp(largest);
        for (u32 j = threadIdx.x; j < h.tokens; j += 32) sum += exponential(scores[j] - largest);
        sum = sum_over_warp(sum);
        for (u32 j = threadIdx.x; j < h.tokens; j += 32) {
            SUM prob = exponential(scores[j] - largest) / sum;
            probs[at.probs(i) + j] = prob;
            scores[j] = at.kept(prob, dropout, i, j);
        }
        at.mix(scores, v, pooled + at.pooled(i));
    }
}

// Gradients of the scores and of the queries. Shared as above.
extern "C" __global__ void attention_backward_queries(SumIn k, SumIn v, SumIn probs, SumIn d_pooled, SumOut d_scores,
                                                      StoredOut dq, HEADS_PARAMETERS, DROPOUT_PARAMETERS) {
    Heads h = HEADS_ARGUMENTS;
    Dropout dropout = DROPOUT_ARGUMENTS;
    Place at(h);
    SUM* scores = reinterpret_cast<SUM*>(memory) + threadIdx.y * h.tokens;
    SUM scale = 1 / root((SUM)h.width);
    for (u32 i = threadIdx.y; i < h.queries; i += blockDim.y) {
        at.dots(d_pooled + at.pooled(i), v, 1, scores);
        SUM along = 0;
        for (u32 j = threadIdx.x; j < h.tokens; j += 32) {
            scores[j] = at.kept(scores[j], dropout, i, j);
            along += scores[j] * probs[at.probs(i) + j];
        }
        along = sum_over_warp(along);
        for (u32 j = threadIdx.x; j < h.tokens; j += 32) {
            SUM d_score = probs[at.probs(i) + j] * (scores[j] - along) * scale;
            d_scores[at.probs(i) + j] = d_score;
            scores[j] = d_score;
        }
        at.mix(scores, k, dq + at.query(i));
    }
}

// Gradients of keys and values. Shared: two numbers for each query, for every warp.
extern "C" __global__ void attention_backward_tokens(SumIn q, SumIn probs, SumIn d_pooled, SumIn d_scores, StoredOut dk,
                                                     StoredOut dv, HEADS_PARAMETERS, DROPOUT_PARAMETERS) {
    Heads h = HEADS_ARGUMENTS;
    Dropout dropout = DROPOUT_ARGUMENTS;
    Place at(h);
    SUM* kept = reinterpret_cast<SUM*>(memory) + threadIdx.y * 2 * h.queries;
    SUM* scores = kept + h.queries;
    for (u32 j = threadIdx.y; j < h.tokens; j += blockDim.y) {
        for (u32 i = threadIdx.x; i < h.queries; i += 32) {
            kept[i] = at.kept(probs[at.probs(i) + j], dropout, i, j);
            scores[i] = d_scores[at.probs(i) + j];
        }
        __syncwarp();
        for (u32 c = threadIdx.x; c < h.width; c += 32) {
            SUM d_key = 0, d_value = 0;
            for (u32 i = 0; i < h.queries; i++) {
                d_key += scores[i] * q[at.query(i) + c];
                d_value += kept[i] * d_pooled[at.pooled(i) + c];
            }
            dk[at.key(j) + c] = store(d_key);
            dv[at.key(j) + c] = store(d_value);
        }
        __syncwarp();
    }
}

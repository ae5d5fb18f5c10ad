// One step of a decoder of the Llama family on the CPU, in one call that never comes back to the interpreter.
//
// Activations and the KV cache are float32, weights float32, bfloat16 or int8 with a scale a column. forms.h says what
// becomes of activations where they are multiplied with weights.
// inference/native_llama.py packs the weights and fills these structures; they must agree field by field.

#include "attention.h"
#include "linear.h"

struct Layer {
    Matrix qkv, output, gate_up, down;
    const float *attention_norm;  // [hidden]
    const float *mlp_norm;
    const float *query_norm;  // [head_dim] or null
    const float *key_norm;
    float *cache;  // [blocks][2][kv_heads][head_dim * BLOCK]
};

struct Decoder {
    int32_t dtype;  // of weights: 0 float32, 1 bfloat16, 2 int8, 3 bfloat16 whose products may be rounded
    int32_t layers, hidden, intermediate, heads, kv_heads, head_dim;
    float epsilon;
    const Layer *layer;
    Matrix head;             // columns of it are the embeddings too when `embedding` is null
    const void *embedding;   // [vocabulary, hidden] in the weights' type, or null
    const float *embedding_scales;  // [vocabulary], int8 only
    const float *norm;       // [hidden]
    const float *rotations;  // [context, head_dim]: cosines, then sines
};

struct Step {
    int32_t tokens, chunks, outputs, table_width;
    const int32_t *token_ids, *positions;  // [tokens]
    const int32_t *rows;                   // [chunks + 1]
    const int32_t *tables;                 // [chunks, table_width]
    const int32_t *output_rows;            // [outputs]
    // Scratch for `tokens` rows.
    float *hidden, *normed, *qkv, *attended, *inner;
    void *rounded;  // rounded_bytes(tokens, the greatest depth of a product)
    float *result;  // [outputs, hidden]
};

// What remains to do with a tile's sums: int8's scale of the column, the bias.
INLINE void finish(const Matrix &m, int panel, v16 (&acc)[PANEL_VECTORS]) {
    for (int v = 0; v < PANEL_VECTORS; v++) {
        if (m.scales) acc[v] *= load(m.scales + panel * PANEL + v * LANES);
        if (m.bias) acc[v] += load(m.bias + panel * PANEL + v * LANES);
    }
}

INLINE void put(float *out, int columns, int panel, const v16 (&acc)[PANEL_VECTORS]) {
    for (int v = 0; v < PANEL_VECTORS; v++) {
        int column = panel * PANEL + v * LANES;
        if (column + LANES <= columns) {
            store(out + column, acc[v]);
        } else {
            for (int i = 0; column + i < columns; i++) out[column + i] = acc[v][i];
        }
    }
}

struct Store {  // out = x . W
    const Matrix &matrix;
    float *out;
    void operator()(int row, int panel, v16 (&acc)[PANEL_VECTORS]) const {
        finish(matrix, panel, acc);
        put(out + (long)row * matrix.columns, matrix.columns, panel, acc);
    }
};

struct Add {  // out += x . W
    const Matrix &matrix;
    float *out;
    void operator()(int row, int panel, v16 (&acc)[PANEL_VECTORS]) const {
        finish(matrix, panel, acc);
        float *at = out + (long)row * matrix.columns;
        for (int v = 0; v < PANEL_VECTORS; v++) {
            int column = panel * PANEL + v * LANES;
            if (column + LANES <= matrix.columns) {
                store(at + column, load(at + column) + acc[v]);
            } else {
                for (int i = 0; column + i < matrix.columns; i++) at[column + i] += acc[v][i];
            }
        }
    }
};

struct Gate {  // out = silu(x . G) * (x . U), a panel being half gate and half up
    const Matrix &matrix;
    float *out;
    int intermediate;
    void operator()(int row, int panel, v16 (&acc)[PANEL_VECTORS]) const {
        finish(matrix, panel, acc);
        float pair[PANEL];
        for (int v = 0; v < PANEL_VECTORS; v++) store(pair + v * LANES, acc[v]);
        constexpr int HALF = PANEL / 2;
        v16 gate = {}, up = {};
        memcpy(&gate, pair, HALF * sizeof(float));
        memcpy(&up, pair + HALF, HALF * sizeof(float));
        v16 value = gate / (exponential(-gate) + 1.0f) * up;
        int column = panel * HALF, count = intermediate - column < HALF ? intermediate - column : HALF;
        memcpy(out + (long)row * intermediate + column, &value, count * sizeof(float));
    }
};

static float inverse_rms(const float *x, int size, float epsilon) {
    v16 squares = {};
    int i = 0;
    for (; i + LANES <= size; i += LANES) squares += load(x + i) * load(x + i);
    float total = sum(squares);
    for (; i < size; i++) total += x[i] * x[i];
    return 1.0f / __builtin_sqrtf(total / size + epsilon);
}

static void normalize(const Decoder &model, const float *x, int rows, const float *norm, float *out) {
    for (int row = 0; row < rows; row++, x += model.hidden, out += model.hidden) {
        float scale = inverse_rms(x, model.hidden, model.epsilon);
        for (int i = 0; i < model.hidden; i++) out[i] = x[i] * scale * norm[i];
    }
}

template <class W>
static void embed(const Decoder &model, const Step &step) {
    for (int row = 0; row < step.tokens; row++) {
        float *out = step.hidden + (long)row * model.hidden;
        int token = step.token_ids[row];
        if (model.embedding) {
            const W *from = (const W *)model.embedding + (long)token * model.hidden;
            float scale = model.embedding_scales ? model.embedding_scales[token] : 1.0f;
            for (int i = 0; i < model.hidden; i++) out[i] = single(from + i) * scale;
        } else {
            float scale = model.head.scales ? model.head.scales[token] : 1.0f;
            for (int i = 0; i < model.hidden; i++) out[i] = element<W>(model.head, token, i, model.hidden) * scale;
        }
    }
}

// What the items of a layer's rotation and attention share.
struct Attention {
    const Decoder &model;
    const Step &step;
    const Layer &layer;
    int rows_an_item;
};

static void rotate(float *head, const float *rotation, int half) {
    for (int i = 0; i < half; i++) {
        float a = head[i], b = head[i + half], c = rotation[i], s = rotation[i + half];
        head[i] = a * c - b * s;
        head[i + half] = b * c + a * s;
    }
}

// Norm and rotate the queries and keys of some rows, and put keys and values into their blocks.
static void place(void *context, int item) {
    const Attention &a = *(const Attention *)context;
    const Decoder &m = a.model;
    const Step &s = a.step;
    int D = m.head_dim;
    long width = (long)(m.heads + 2 * m.kv_heads) * D, block_stride = 2L * m.kv_heads * D * BLOCK;
    int first = item * a.rows_an_item;
    int last = first + a.rows_an_item < s.tokens ? first + a.rows_an_item : s.tokens;
    int chunk = 0;
    for (int row = first; row < last; row++) {
        while (s.rows[chunk + 1] <= row) chunk++;
        float *qkv = s.qkv + row * width;
        int position = s.positions[row];
        const float *rotation = m.rotations + (long)position * D;
        for (int h = 0; h < m.heads + m.kv_heads; h++) {
            float *head = qkv + h * D;
            const float *norm = h < m.heads ? a.layer.query_norm : a.layer.key_norm;
            if (norm) {
                float scale = inverse_rms(head, D, m.epsilon);
                for (int i = 0; i < D; i++) head[i] *= scale * norm[i];
            }
            rotate(head, rotation, D / 2);
        }
        float *block = a.layer.cache + s.tables[(long)chunk * s.table_width + position / BLOCK] * block_stride;
        for (int h = 0; h < m.kv_heads; h++) {
            const float *key = qkv + (m.heads + h) * D, *value = key + m.kv_heads * D;
            float *keys = block + (long)h * D * BLOCK + position % BLOCK;
            float *values = block + (long)(m.kv_heads + h) * D * BLOCK + (position % BLOCK) * D;
            for (int i = 0; i < D; i++) keys[i * BLOCK] = key[i];
            memcpy(values, value, D * sizeof(float));
        }
    }
}

template <int ROWS>
static void attend_rows(const Attention &a, int chunk, int kv_head, int first) {
    const Decoder &m = a.model;
    const Step &s = a.step;
    int D = m.head_dim, group = m.heads / m.kv_heads;
    long width = (long)(m.heads + 2 * m.kv_heads) * D, block_stride = 2L * m.kv_heads * D * BLOCK;
    float queries[ROWS * MAX_HEAD_DIM], out[ROWS * MAX_HEAD_DIM];
    int visible[ROWS];
    float scale = 1.0f / __builtin_sqrtf((float)D);
    for (int r = 0; r < ROWS; r++) {
        int row = s.rows[chunk] + (first + r) / group, head = kv_head * group + (first + r) % group;
        const float *query = s.qkv + row * width + head * D;
        for (int i = 0; i < D; i++) queries[r * D + i] = query[i] * scale;
        visible[r] = s.positions[row] + 1;
    }
    attend<ROWS>(queries, visible, a.layer.cache, block_stride, (long)kv_head * D * BLOCK,
                 (long)m.kv_heads * D * BLOCK, s.tables + (long)chunk * s.table_width, D, out);
    for (int r = 0; r < ROWS; r++) {
        int row = s.rows[chunk] + (first + r) / group, head = kv_head * group + (first + r) % group;
        memcpy(s.attended + ((long)row * m.heads + head) * D, out + r * D, D * sizeof(float));
    }
}

// Of one chunk and key head, the queries of some tokens: rows times heads of the group.
static void attention(void *context, int item) {
    const Attention &a = *(const Attention *)context;
    const Decoder &m = a.model;
    const Step &s = a.step;
    int group = m.heads / m.kv_heads;
    int kv_head = item % m.kv_heads;
    item /= m.kv_heads;
    int chunk = 0;
    for (;; chunk++) {
        int tokens = s.rows[chunk + 1] - s.rows[chunk];
        int items = (tokens + a.rows_an_item - 1) / a.rows_an_item;
        if (item < items) break;
        item -= items;
    }
    int tokens = s.rows[chunk + 1] - s.rows[chunk];
    int first = item * a.rows_an_item, last = first + a.rows_an_item < tokens ? first + a.rows_an_item : tokens;
    for (int query = first * group; query < last * group;) {
        int left = last * group - query;
        switch (left < 6 ? left : 6) {
            case 1: attend_rows<1>(a, chunk, kv_head, query), query += 1; break;
            case 2: attend_rows<2>(a, chunk, kv_head, query), query += 2; break;
            case 3: attend_rows<3>(a, chunk, kv_head, query), query += 3; break;
            case 4: attend_rows<4>(a, chunk, kv_head, query), query += 4; break;
            case 5: attend_rows<5>(a, chunk, kv_head, query), query += 5; break;
            default: attend_rows<6>(a, chunk, kv_head, query), query += 6; break;
        }
    }
}

static int attention_items(const Decoder &model, const Step &step, int tokens_an_item) {
    int items = 0;
    for (int c = 0; c < step.chunks; c++)
        items += (step.rows[c + 1] - step.rows[c] + tokens_an_item - 1) / tokens_an_item;
    return items * model.kv_heads;
}

template <class W>
static void forward(Team *team, const Decoder &model, const Step &step) {
    long H = model.hidden, A = (long)model.heads * model.head_dim;
    int rows = step.tokens;
    embed<W>(model, step);
    for (int l = 0; l < model.layers; l++) {
        const Layer &layer = model.layer[l];
        normalize(model, step.hidden, rows, layer.attention_norm, step.normed);
        multiply<W>(team, step.normed, rows, H, layer.qkv, step.rounded, Store{layer.qkv, step.qkv});
        Attention a{model, step, layer, 16};
        together(team, (rows + 15) / 16, place, &a);
        together(team, attention_items(model, step, a.rows_an_item), attention, &a);
        if (l == model.layers - 1) {
            // From here on only what is asked for matters. Outputs ascend, so a row is read before it is written.
            for (int i = 0; i < step.outputs; i++) {
                int row = step.output_rows[i];
                memmove(step.hidden + i * H, step.hidden + row * H, H * sizeof(float));
                memmove(step.attended + i * A, step.attended + row * A, A * sizeof(float));
            }
            rows = step.outputs;
        }
        multiply<W>(team, step.attended, rows, A, layer.output, step.rounded, Add{layer.output, step.hidden});
        normalize(model, step.hidden, rows, layer.mlp_norm, step.normed);
        multiply<W>(team, step.normed, rows, H, layer.gate_up, step.rounded,
                    Gate{layer.gate_up, step.inner, model.intermediate});
        multiply<W>(team, step.inner, rows, model.intermediate, layer.down, step.rounded, Add{layer.down, step.hidden});
    }
    normalize(model, step.hidden, rows, model.norm, step.result);
}

// call(W()) for the type W of the weights of a dtype.
template <class Call>
static auto typed(int dtype, Call call) {
    switch (dtype) {
        case 0: return call(float());
        case 1: return call(bfloat16());
        case 2: return call(int8_t());
        default: return call(rounding_bfloat16());
    }
}

extern "C" {

int panel_columns() { return PANEL; }

int block_tokens() { return BLOCK; }

// How many weights of a column lie side by side in a panel.
int panel_depth(int dtype) {
    return typed(dtype, [](auto w) { return +Form<decltype(w)>::DEPTH; });
}

// What rows that are multiplied take besides.
long rounded_bytes(int dtype, int rows, long depth) {
    return typed(dtype, [=](auto w) { return Form<decltype(w)>::bytes(rows, depth); });
}

Team *team_new(int helpers) { return gather(helpers); }

void team_free(Team *team) { dismiss(team); }

// The normed last hidden states of the step's outputs, [outputs, hidden].
void decoder_forward(Team *team, const Decoder *model, const Step *step) {
    begin(team);
    typed(model->dtype, [=](auto w) { forward<decltype(w)>(team, *model, *step); });
    end(team);
}

// The language model's head: [rows, hidden] to [rows, columns].
void decoder_head(Team *team, const Decoder *model, const float *hidden, int rows, void *rounded, float *logits) {
    begin(team);
    typed(model->dtype, [=](auto w) {
        multiply<decltype(w)>(team, hidden, rows, model->hidden, model->head, rounded, Store{model->head, logits});
    });
    end(team);
}
}

// Checks the inputs of attention operators and lays their shapes and masks out for the kernels.
#include <cmath>
#include <cstring>

#include "kernels/attention.h"

namespace toolkit {

namespace {

constexpr int64_t kFar = int64_t{1} << 40;  // Beyond any sequence.

int64_t Window(const Attributes& a, const char* name) {
  const int64_t size = a.Int(name, -1);
  TK_REQUIRE(size >= -1, ErrorKind::kInvalidArgument, name, " must be -1 or not negative, got ",
             size);
  return std::min(size, kFar);
}

// (B, L, H D) or (B, H, L, D).
HeadStrides StridesOf(const Shape& x, int64_t heads, int64_t size) {
  if (x.rank() == 3) return {x[1] * x[2], size, x[2]};
  return {x[1] * x[2] * x[3], x[2] * x[3], x[3]};
}

template <class T, class From>
void Convert(const Tensor& x, T* out) {
  const From* in = x.data<From>();
  for (int64_t i = 0; i < x.size(); ++i) out[i] = static_cast<T>(in[i]);
}

// Each number of `x` (.., 1) n times: (.., n).
Tensor Repeated(KernelContext& c, const Tensor& x, int64_t n) {
  Shape shape = x.shape();
  shape[shape.rank() - 1] = n;
  const auto item = static_cast<int64_t>(ItemSize(x.dtype()));
  char* out = c.Scratch<char>(static_cast<int64_t>(CheckedBytes(x.dtype(), shape)));
  const char* from = static_cast<const char*>(x.raw());
  for (int64_t i = 0; i < x.size() * n; ++i) std::memcpy(out + i * item, from + i / n * item, item);
  return Tensor(x.dtype(), shape, out);
}

}  // namespace

AttentionAttributes::AttentionAttributes(const Attributes& a)
    : q_heads(a.Int("q_num_heads", 0)),
      kv_heads(a.Int("kv_num_heads", 0)),
      scale(a.Float("scale", std::numeric_limits<double>::quiet_NaN())),
      softcap(a.Float("softcap", 0)),
      causal(a.Int("is_causal", 0) != 0),
      left(Window(a, "left_window_size")),
      right(Window(a, "right_window_size")),
      qk_mode(a.Int("qk_matmul_output_mode", 0)),
      spread_mask(a.Int("spread_mask", 0) != 0),
      nan_rows(a.Int("nan_rows", 0) != 0),
      last_rows(a.Int("last_rows", 0) != 0),
      in_place(a.Int("in_place", 0) != 0) {
  TK_REQUIRE(qk_mode >= 0 && qk_mode <= 3, ErrorKind::kInvalidArgument,
             "qk_matmul_output_mode must be 0, 1, 2 or 3, got ", qk_mode);
  TK_REQUIRE(softcap >= 0, ErrorKind::kInvalidArgument, "softcap must not be negative, got ",
             softcap);
}

AttentionShape::AttentionShape(const AttentionAttributes& a, const KernelContext& c)
    : causal_(a.causal), last_rows_(a.last_rows), left_(a.left), right_(a.right) {
  const Tensor &tq = c.input(0), &tk = c.input(1), &tv = c.input(2);
  const Shape &sq = tq.shape(), &sk = tk.shape(), &sv = tv.shape();
  const int rank = sq.rank();
  TK_REQUIRE((rank == 3 || rank == 4) && sk.rank() == rank && sv.rank() == rank, ErrorKind::kShape,
             "Q, K and V must all have 3 or all have 4 dimensions, got ", sq.ToString(), ", ",
             sk.ToString(), " and ", sv.ToString());
  for (const Tensor* t : {&tk, &tv})
    TK_REQUIRE(t->dtype() == tq.dtype(), ErrorKind::kDType, "K and V must have Q's dtype ",
               Name(tq.dtype()), ", got ", Name(t->dtype()));
  packed = rank == 3;
  TK_REQUIRE(!packed || (a.q_heads > 0 && a.kv_heads > 0), ErrorKind::kInvalidArgument,
             "q_num_heads and kv_num_heads above 0 are required with 3D inputs, got ", a.q_heads,
             " and ", a.kv_heads);
  const int axis = packed ? 1 : 2;
  batch = sq[0], rows = sq[axis], new_keys = sk[axis];
  q_heads = packed ? a.q_heads : sq[1];
  kv_heads = packed ? a.kv_heads : sk[1];
  TK_REQUIRE(kv_heads > 0 && q_heads % kv_heads == 0, ErrorKind::kShape,
             "the heads of Q must be a multiple of those of K, got ", q_heads, " and ", kv_heads);
  const auto size = [&](const Shape& s, int64_t heads, const char* name) {
    TK_REQUIRE(!packed || s[2] % heads == 0, ErrorKind::kShape, "the last dimension of ", name,
               " must be a multiple of its ", heads, " heads, got ", s.ToString());
    return packed ? s[2] / heads : s[3];
  };
  head = size(sq, q_heads, "Q"), v_head = size(sv, kv_heads, "V");
  TK_REQUIRE(sk[0] == batch && sv[0] == batch && sv[axis] == new_keys &&
                 size(sk, kv_heads, "K") == head && (packed || sv[1] == kv_heads),
             ErrorKind::kShape, "Q, K and V must agree in batch, heads, keys and head size, got ",
             sq.ToString(), ", ", sk.ToString(), " and ", sv.ToString());
  q = StridesOf(sq, q_heads, head), k = StridesOf(sk, kv_heads, head);
  v = StridesOf(sv, kv_heads, v_head), y = StridesOf(Output(), q_heads, v_head);

  const Tensor *past_k = c.optional_input(4), *past_v = c.optional_input(5);
  TK_REQUIRE(!past_k == !past_v, ErrorKind::kInvalidArgument,
             "past_key and past_value must be given together");
  const int64_t given = past_k && past_k->rank() == 4 ? past_k->dim(2) : 0;
  in_place = a.in_place;
  past = given;
  if (in_place) {
    const Tensor& length = c.input(7);
    TK_REQUIRE(past_k && length.dtype() == DType::kInt64 && length.size() == 1, ErrorKind::kShape,
               "caches and the int64 length of the past are required together, got ",
               Name(length.dtype()), " ", length.shape().ToString());
    past = *length.data<int64_t>();
    TK_REQUIRE(past >= 0 && past + new_keys <= given, ErrorKind::kShape, "caches of ", given,
               " keys must have room for ", new_keys, " after the past, got ", past);
  }
  keys = past + new_keys;
  room = in_place ? given : keys;
  if (past_k) {
    TK_REQUIRE(past_k->dtype() == tq.dtype() && past_v->dtype() == tq.dtype(), ErrorKind::kDType,
               "past_key and past_value must have Q's dtype ", Name(tq.dtype()), ", got ",
               Name(past_k->dtype()), " and ", Name(past_v->dtype()));
    TK_REQUIRE(past_k->shape() == Shape({batch, kv_heads, given, head}) &&
                   past_v->shape() == Shape({batch, kv_heads, given, v_head}),
               ErrorKind::kShape, "past_key and past_value must be ",
               Shape({batch, kv_heads, given, head}).ToString(), " and ",
               Shape({batch, kv_heads, given, v_head}).ToString(), ", got ",
               past_k->shape().ToString(), " and ", past_v->shape().ToString());
  }
  if (const Tensor* nonpad = c.optional_input(6)) {
    TK_REQUIRE(!past_k, ErrorKind::kInvalidArgument,
               "nonpad_kv_seqlen must not be given together with past_key");
    TK_REQUIRE(nonpad->dtype() == DType::kInt64 && nonpad->shape() == Shape({batch}),
               ErrorKind::kShape, "nonpad_kv_seqlen must be int64 ", Shape({batch}).ToString(),
               ", got ", Name(nonpad->dtype()), " ", nonpad->shape().ToString());
    nonpad_ = nonpad->data<int64_t>();
  }
  mask_keys = keys, mask_repeats = false;
  if (const Tensor* mask = c.optional_input(3)) {
    const Shape &m = mask->shape(), full = Scores();
    bool fits = m.rank() >= 1 && m.rank() <= 4 && m[m.rank() - 1] <= keys;
    for (int i = 0; fits && i + 1 < m.rank(); ++i)
      fits = m[i] == 1 || m[i] == full[4 - m.rank() + i];
    TK_REQUIRE(fits, ErrorKind::kShape, "attn_mask must broadcast to ", full.ToString(),
               " (its last dimension may be shorter), got ", m.ToString());
    mask_repeats = a.spread_mask && m[m.rank() - 1] == 1 && keys > 1;
    if (!mask_repeats) mask_keys = m[m.rank() - 1];
  }
  scale = std::isnan(a.scale) ? 1 / std::sqrt(static_cast<double>(std::max<int64_t>(head, 1)))
                              : a.scale;
}

Shape AttentionShape::Output() const {
  if (packed) return {batch, rows, q_heads * v_head};
  return {batch, q_heads, rows, v_head};
}

KeyRange AttentionShape::Keys(int64_t b, int64_t i) const {
  KeyRange r = {0, mask_keys};
  int64_t position = last_rows_ ? keys - rows + i : past + i;
  if (nonpad_) {
    const int64_t valid = std::clamp<int64_t>(nonpad_[b], -kFar, kFar);
    position = valid - rows + i;
    r.end = std::min(r.end, valid);
  }
  if (causal_) r.end = std::min(r.end, position + 1);
  if (left_ >= 0) r.begin = std::max(r.begin, position - left_);
  if (right_ >= 0) r.end = std::min(r.end, position + right_ + 1);
  return r.empty() ? KeyRange{0, 0} : r;
}

template <class T>
AttentionMask<T>::AttentionMask(KernelContext& c, const AttentionShape& shape) {
  const Tensor* mask = c.optional_input(3);
  if (!mask) return;
  Tensor repeated;
  if (shape.mask_repeats) {
    repeated = Repeated(c, *mask, shape.keys);
    mask = &repeated;
  }
  const Shape& m = mask->shape();
  int64_t stride = m[m.rank() - 1];
  int64_t* const strides[] = {&row, &head, &batch};
  for (int i = 0; i + 1 < m.rank(); ++i) {
    const int64_t size = m[m.rank() - 2 - i];
    *strides[i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  if (mask->dtype() == DType::kBool) {
    keep = mask->data<uint8_t>();
  } else if (mask->dtype() == DTypeOf<T>::kValue) {
    bias = mask->data<T>();
  } else {
    T* numbers = c.Scratch<T>(mask->size());
    DispatchNumbers(mask->dtype(),
                    [&](auto tag) { Convert<T, typename decltype(tag)::type>(*mask, numbers); });
    bias = numbers;
  }
}
template struct AttentionMask<float>;
template struct AttentionMask<double>;

void JoinPast(ThreadPool& pool, const AttentionShape& shape, const HeadStrides& strides,
              int64_t size, const Tensor* past, const Tensor& fresh, Tensor& out) {
  const int64_t item = static_cast<int64_t>(ItemSize(fresh.dtype()));
  const int64_t bytes = size * item, heads = shape.kv_heads;
  const int64_t moved = shape.in_place ? shape.new_keys : shape.keys;
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(moved * bytes, 1));
  pool.ParallelFor(shape.batch * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* to = static_cast<char*>(out.raw()) + i * shape.room * bytes;
      if (past && past->size() && !shape.in_place)
        std::memcpy(to, static_cast<const char*>(past->raw()) + i * shape.past * bytes,
                    static_cast<size_t>(shape.past * bytes));
      to += shape.past * bytes;
      const char* from =
          static_cast<const char*>(fresh.raw()) + strides.at(i / heads, i % heads, 0) * item;
      for (int64_t r = 0; r < shape.new_keys; ++r, to += bytes)
        std::memcpy(to, from + r * strides.row * item, static_cast<size_t>(bytes));
    }
  });
}

}  // namespace toolkit

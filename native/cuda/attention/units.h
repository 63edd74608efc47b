// Who attends to whom. A unit is one head of some queries and of the keys they see: what it says
// about its rows is all that the kernels in this folder need to know of sequences, windows, shifts
// and padding.
#pragma once

#include "../../plan/attention_layout.h"
#include "../../plan/window_geometry.h"
#include "../core/kernel.h"

namespace hrsam::cuda {

// Row and column on a grid, for rotary embedding and relative positions.
struct Place {
  int row, column;
};

// The place `count` further on, row by row, on a grid so many columns wide. For few of them: a
// division takes longer.
HRSAM_DEVICE Place further(Place place, int count, int columns) {
  place.column += count;
  for (; place.column >= columns; place.column -= columns) ++place.row;
  return place;
}

// A query's or key's numbers; data is null where there is none.
template <class T>
struct HeadRow {
  const T* data;
  Place place;
};

// ---- Sequences
// -----------------------------------------------------------------------------------

struct SequenceCall {
  const void *q, *k, *v;
  const int32_t* lengths;  // or null
  Layout layout;
  int query_block;  // queries of a unit
  int64_t blocks;   // of an item's head, all segments'
  int64_t chunk;    // keys of a unit; the longest segment's where they are not cut
  int64_t chunks;
};

// Index: 32 bits divide faster, but make some of the kernels of every GPU spill a register
// (nvcc 13.0).
template <class T, class Index = int64_t>
class SequenceUnit {
 public:
  using Call = SequenceCall;
  // Whether some queries do not see some of their unit's keys.
  static bool hides(const Call&) { return false; }

  HRSAM_DEVICE SequenceUnit(const Call& call, int64_t index) : l_(call.layout) {
    chunk_ = index % call.chunks;
    index /= call.chunks;
    int64_t block = index % call.blocks;
    index /= call.blocks;
    head_ = static_cast<int>(index % l_.heads);
    item_ = index / l_.heads;
    int i = 0;
    for (; block >= divide_up(l_.segments[i].q_count, call.query_block); ++i)
      block -= divide_up(l_.segments[i].q_count, call.query_block);
    const Segment& s = l_.segments[i];
    q_columns_ = s.q_columns;
    k_columns_ = s.k_columns;
    q_begin_ = block * call.query_block;
    queries = static_cast<int>(smaller(call.query_block, s.q_count - q_begin_));
    first_query_ = s.q_first + q_begin_;
    int64_t end = s.k_count;
    if (call.lengths != nullptr) end = smaller(end, larger(0, call.lengths[item_]));
    key_begin_ = chunk_ * call.chunk;
    all_keys_ = static_cast<int>(smaller(call.chunk, s.k_count - key_begin_));
    keys = static_cast<int>(larger(0, smaller(call.chunk, end - key_begin_)));
    const int64_t channels = l_.channels(), row = l_.row(),
                  head = static_cast<int64_t>(head_) * l_.d;
    const int64_t key_item = l_.shared_keys ? 0 : item_;
    const int64_t first = (key_item * l_.k_tokens + s.k_first) * row + head;
    q_ = static_cast<const T*>(call.q) + item_ * l_.q_tokens * row + head;
    k_ = (l_.packed ? static_cast<const T*>(call.q) + channels : static_cast<const T*>(call.k)) +
         first;
    v_ =
        (l_.packed ? static_cast<const T*>(call.q) + 2 * channels : static_cast<const T*>(call.v)) +
        first;
  }

  HRSAM_DEVICE HeadRow<T> query(int i) const {
    const int64_t at = q_begin_ + i;
    return {q_ + (first_query_ + i) * l_.row(), place_of(at, q_columns_)};
  }
  HRSAM_DEVICE HeadRow<T> key(int j) const {
    const int64_t at = key_begin_ + j;
    return {k_ + at * l_.row(), place_of(at, k_columns_)};
  }
  HRSAM_DEVICE const T* value(int j) const { return v_ + (key_begin_ + j) * l_.row(); }
  // Of the keys' grid.
  HRSAM_DEVICE int key_columns() const { return k_columns_; }
  // Queries see the keys of their own region.
  HRSAM_DEVICE bool has_regions() const { return false; }
  HRSAM_DEVICE int region(const Place&) const { return 0; }
  // Rows of the result and of what is kept per query.
  HRSAM_DEVICE int64_t out(int i) const {
    return (item_ * l_.q_tokens + first_query_ + i) * l_.channels() +
           static_cast<int64_t>(head_) * l_.d;
  }
  HRSAM_DEVICE int64_t query_index(int i) const {
    return (item_ * l_.heads + head_) * l_.q_tokens + first_query_ + i;
  }
  HRSAM_DEVICE int64_t chunk() const { return chunk_; }
  // Keys, seen or not.
  HRSAM_DEVICE int all_keys() const { return all_keys_; }
  // Whether a key is padding, and which of all padded positions.
  HRSAM_DEVICE bool is_padding(int) const { return false; }
  HRSAM_DEVICE int64_t position(int) const { return 0; }

  int queries, keys;

 private:
  HRSAM_DEVICE static Place place_of(int64_t at, int columns) {
    const auto place = static_cast<Index>(at), width = static_cast<Index>(columns);
    return {static_cast<int>(place / width), static_cast<int>(place % width)};
  }

  const Layout& l_;
  int64_t item_, chunk_, q_begin_, first_query_, key_begin_;
  int head_, q_columns_, k_columns_, all_keys_;
  const T *q_, *k_, *v_;
};

// ---- Windows
// -------------------------------------------------------------------------------------

struct WindowCall {
  const void *qkv, *pad;
  Geometry geometry;
  int heads;
  int query_block;  // positions of a unit: all of a window's where its keys stay on the chip
};

template <class T>
class WindowUnit {
 public:
  using Call = WindowCall;
  static bool hides(const Call& call) { return call.geometry.shift > 0; }

  HRSAM_DEVICE WindowUnit(const Call& call, int64_t index) : g_(call.geometry) {
    const int count = g_.window * g_.window;
    const auto blocks = static_cast<int64_t>(divide_up(count, call.query_block));
    first_ = static_cast<int>(index % blocks) * call.query_block;
    index /= blocks;
    head_ = static_cast<int>(index % call.heads);
    index /= call.heads;
    item_ = index / g_.windows;
    window_ = index % g_.windows;
    place_ = place_window(g_, window_);
    channels_ = static_cast<int64_t>(call.heads) * g_.d;
    heads_ = call.heads;
    keys = count;
    queries = static_cast<int>(smaller(call.query_block, count - first_));
    qkv_ = static_cast<const T*>(call.qkv) + item_ * g_.tokens * 3 * channels_ +
           static_cast<int64_t>(head_) * g_.d;
    pad_ = call.pad == nullptr
               ? nullptr
               : static_cast<const T*>(call.pad) + static_cast<int64_t>(head_) * g_.d;
  }

  // Padding has no query that anyone wants.
  HRSAM_DEVICE HeadRow<T> query(int i) const {
    const Place place = place_of(first_ + i);
    const int32_t token = token_at(g_, place_, place.row, place.column).token;
    return {token < 0 ? nullptr : qkv_ + token * 3 * channels_, place};
  }
  HRSAM_DEVICE HeadRow<T> key(int j) const { return {row(j, 1), place_of(j)}; }
  HRSAM_DEVICE const T* value(int j) const { return row(j, 2); }
  HRSAM_DEVICE int key_columns() const { return g_.window; }
  HRSAM_DEVICE bool has_regions() const { return g_.shift > 0; }
  HRSAM_DEVICE int region(const Place& place) const {
    return region_at(g_, place_, place.row, place.column);
  }
  HRSAM_DEVICE int64_t out(int i) const {
    return (item_ * g_.tokens + query_token(i)) * channels_ + static_cast<int64_t>(head_) * g_.d;
  }
  HRSAM_DEVICE int64_t query_index(int i) const {
    return (item_ * heads_ + head_) * g_.tokens + query_token(i);
  }
  HRSAM_DEVICE int64_t chunk() const { return 0; }
  HRSAM_DEVICE int all_keys() const { return keys; }
  // Whether a key is padding, and which position of all windows and heads it is.
  HRSAM_DEVICE bool is_padding(int j) const {
    const Place place = place_of(j);
    return token_at(g_, place_, place.row, place.column).token < 0;
  }
  HRSAM_DEVICE int64_t position(int j) const {
    return ((item_ * g_.windows + window_) * heads_ + head_) * keys + j;
  }

  int queries, keys;

 private:
  HRSAM_DEVICE Place place_of(int position) const {
    return {position / g_.window, position % g_.window};
  }
  HRSAM_DEVICE int32_t query_token(int i) const {
    const Place place = place_of(first_ + i);
    return token_at(g_, place_, place.row, place.column).token;
  }
  HRSAM_DEVICE const T* row(int position, int part) const {
    const Place place = place_of(position);
    const int32_t token = token_at(g_, place_, place.row, place.column).token;
    return (token < 0 ? pad_ : qkv_ + token * 3 * channels_) + part * channels_;
  }

  const Geometry& g_;
  WindowPlace place_;
  int64_t item_, window_, channels_;
  int head_, heads_, first_;
  const T *qkv_, *pad_;
};

}  // namespace hrsam::cuda

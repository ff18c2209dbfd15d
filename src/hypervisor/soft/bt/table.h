// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace triune::hypervisor::soft::bt {

/// Memory for tables that grow together and go together. It comes in pieces for which the host may take one
/// large page each: a page fault for every 4 KB of tables was a twentieth of the time to init.
class TableMemory {
public:
    /// Not initialized, aligned to 64 bytes; at most `piece_bytes`.
    void* take(size_t bytes) {
        bytes = (bytes + 63) & ~size_t{63};
        if (pieces_.empty() || used_ + bytes > piece_bytes) {
            next_ += !pieces_.empty();
            used_ = 0;
            if (next_ == pieces_.size()) pieces_.push_back(new_piece());
        }
        u8* const at = pieces_[next_].get() + used_;
        used_ += bytes;
        return at;
    }
    /// All that was taken is free again.
    void clear() { next_ = used_ = 0; }

private:
    static constexpr size_t piece_bytes = 2 << 20;
    struct Free {
        void operator()(u8* p) const { std::free(p); }
    };
    using Piece = std::unique_ptr<u8, Free>;
    static Piece new_piece() {
        Piece piece(static_cast<u8*>(std::aligned_alloc(piece_bytes, piece_bytes)));
        if (!piece) throw std::bad_alloc();
        (void)::madvise(piece.get(), piece_bytes, MADV_HUGEPAGE);
        return piece;
    }

    std::vector<Piece> pieces_;
    size_t next_ = 0;  ///< the one that is being given out
    size_t used_ = 0;  ///< bytes of it
};

/// An array that grows at its end; its elements stay where they are.
template <class T>
class Table {
public:
    static_assert(std::is_trivially_destructible_v<T>);
    explicit Table(TableMemory& memory) : memory_(memory) {}
    /// Forgets all elements. To be followed by TableMemory::clear() when all its tables are cleared.
    void clear() {
        chunks_.clear();
        size_ = 0;
    }
    [[nodiscard]] u32 size() const { return size_; }
    T& operator[](u32 i) { return chunks_[i / per_chunk][i % per_chunk]; }
    const T& operator[](u32 i) const { return chunks_[i / per_chunk][i % per_chunk]; }
    T& back() { return (*this)[size_ - 1]; }
    T& push_back(const T& value) {
        if (size_ % per_chunk == 0) chunks_.push_back(static_cast<T*>(memory_.take(per_chunk * sizeof(T))));
        return *new (&(*this)[size_++]) T(value);
    }

private:
    static constexpr u32 per_chunk = 256;
    TableMemory& memory_;
    std::vector<T*> chunks_;
    u32 size_ = 0;
};

}  // namespace triune::hypervisor::soft::bt

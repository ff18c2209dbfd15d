// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/fw_cfg.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace triune::device {

namespace {

constexpr std::string_view dma_signature = "QEMU CFG";
constexpr u64 data_offset = 1, dma_offset = 4, dma_low_offset = 8;

void put_big(std::vector<u8>& to, u64 value, unsigned size) {
    for (unsigned i = size; i-- > 0;) to.push_back(static_cast<u8>(value >> (8 * i)));
}

}  // namespace

FwCfg::FwCfg(memory::GuestMemory& memory) : memory_(memory) {
    constexpr u32 has_ports = 1, has_dma = 2;
    add(signature, {'Q', 'E', 'M', 'U'});
    add_number(id, has_ports | has_dma, 4);
}

void FwCfg::add_number(u16 key, u64 value, unsigned size) {
    std::vector<u8> bytes;
    for (unsigned i = 0; i < size; ++i) bytes.push_back(static_cast<u8>(value >> (8 * i)));
    add(key, std::move(bytes));
}

void FwCfg::add_file(const std::string& name, std::vector<u8> bytes) {
    assert(name.size() < 56);
    files_[name] = std::move(bytes);
}

void FwCfg::add_file(const std::string& name, std::function<std::vector<u8>()> make) {
    add_file(name, make());
    made_files_[name] = std::move(make);
}

void FwCfg::finish() {
    std::vector<u8> directory;
    put_big(directory, files_.size(), 4);
    u16 key = first_file;
    for (auto& [name, bytes] : files_) {
        put_big(directory, bytes.size(), 4);
        put_big(directory, key, 2);
        put_big(directory, 0, 2);
        std::array<u8, 56> padded{};
        std::ranges::copy(name, padded.begin());
        directory.insert(directory.end(), padded.begin(), padded.end());
        if (const auto made = made_files_.find(name); made != made_files_.end())
            makers_[key] = std::move(made->second);
        add(key++, std::move(bytes));
    }
    files_.clear();
    made_files_.clear();
    add(file_directory, std::move(directory));
}

void FwCfg::select_locked(u16 key) {
    constexpr u16 write_channel = 1 << 14;  // ignored: nothing can be written
    key &= static_cast<u16>(~write_channel);
    const auto item = items_.find(key);
    if (const auto maker = makers_.find(key); maker != makers_.end()) {
        std::vector<u8> bytes = maker->second();
        bytes.resize(item->second.size());
        item->second = std::move(bytes);
    }
    selected_ = item == items_.end() ? nullptr : &item->second;
    at_ = 0;
}

u8 FwCfg::next_byte_locked() {
    if (!selected_ || at_ >= selected_->size()) return 0;
    return (*selected_)[at_++];
}

u8 FwCfg::read8(u64 offset) {
    const base::MutexLock lock(mutex_);
    if (offset <= data_offset) return next_byte_locked();
    if (offset >= dma_offset) return static_cast<u8>(dma_signature[offset - dma_offset]);
    return 0xff;
}

u64 FwCfg::read(u64 offset, unsigned size) { return ByteRegisters::read(offset, size); }

void FwCfg::write(u64 offset, u64 value, unsigned size) {
    const base::MutexLock lock(mutex_);
    if (offset == 0 && size == 2) {
        select_locked(static_cast<u16>(value));
    } else if (offset == dma_offset && size == 4) {
        dma_high_ = __builtin_bswap32(static_cast<u32>(value));
    } else if (offset == dma_low_offset && size == 4) {
        const Gpa control = u64{dma_high_} << 32 | __builtin_bswap32(static_cast<u32>(value));
        dma_high_ = 0;
        transfer_locked(control);
    }
}

/// A command in guest memory: {control, length: 32 bits, address: 64 bits}, big-endian. Its control word
/// becomes zero when it is done, or the error bit.
void FwCfg::transfer_locked(Gpa control_gpa) {
    constexpr u32 error = 1, read = 2, skip = 4, select = 8, write = 16;
    struct {
        u32 control, length;
        u64 address;
    } command;
    if (!memory_.read_value(control_gpa, command)) return;
    const u32 control = __builtin_bswap32(command.control);
    u64 left = __builtin_bswap32(command.length);
    Gpa to = __builtin_bswap64(command.address);
    if (control & select) select_locked(static_cast<u16>(control >> 16));

    u32 result = 0;
    const u64 there = selected_ ? selected_->size() - at_ : 0;
    if (control & read) {
        const u64 n = std::min(left, there);
        // Zeros beyond the item's end, at most as many as there is memory at that address.
        static constexpr std::array<u8, 4096> zeros{};
        bool ok = n == 0 || memory_.write(to, selected_->data() + at_, n);
        at_ += n;
        for (left -= n, to += n; ok && left > 0;) {
            const u64 piece = std::min<u64>(left, zeros.size());
            ok = memory_.write(to, zeros.data(), piece);
            left -= piece;
            to += piece;
        }
        if (!ok) result = error;
    } else if (control & skip) {
        at_ += std::min(left, there);
    } else if (control & write) {
        result = error;
    }
    (void)memory_.write_value(control_gpa, __builtin_bswap32(result));
}

}  // namespace triune::device

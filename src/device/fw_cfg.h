// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "device/byte_registers.h"
#include "memory/guest_memory.h"

namespace triune::device {

/// QEMU's firmware configuration device (QEMU docs/specs/fw_cfg.rst): named bytes that firmware and
/// kernels read. Ports 0x510 (selector, 16 bits) and 0x511 (data, a byte at a time), and the DMA
/// interface at 0x514 (a big-endian address; the write of its low half starts the transfer). Every item
/// is read-only; an item that does not exist and all beyond an item's end read as zero.
///
/// Threads: items are added before vCPUs run; then any, under one lock.
class FwCfg final : public ByteRegisters {
public:
    static constexpr u16 ports = 0x510, port_count = 12;
    /// Items by number.
    enum Key : u16 {
        signature = 0x00,
        id = 0x01,
        ram_size = 0x03,
        no_graphic = 0x04,
        cpu_count = 0x05,
        max_cpus = 0x0f,
        file_directory = 0x19,
        first_file = 0x20,
    };

    explicit FwCfg(memory::GuestMemory& memory);
    void add(u16 key, std::vector<u8> bytes) { items_[key] = std::move(bytes); }
    void add_number(u16 key, u64 value, unsigned size);
    /// `name` has at most 55 characters. Files get numbers in the order of their names.
    void add_file(const std::string& name, std::vector<u8> bytes);
    /// A file whose bytes, not their number, may change: `make` is called, on a vCPU's thread, whenever the
    /// guest selects it.
    void add_file(const std::string& name, std::function<std::vector<u8>()> make);
    /// Numbers the files and makes their directory; after the last add_file().
    void finish();

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, u64 value, unsigned size) override;

private:
    u8 read8(u64 offset) override;
    void write8(u64, u8) override {}
    void select_locked(u16 key) REQUIRES(mutex_);
    u8 next_byte_locked() REQUIRES(mutex_);
    void transfer_locked(Gpa control_gpa) REQUIRES(mutex_);

    memory::GuestMemory& memory_;
    // Fixed once the guest runs, but for the bytes of files that are made: those change under the lock.
    std::map<u16, std::vector<u8>> items_;
    std::map<std::string, std::vector<u8>> files_;
    std::map<std::string, std::function<std::vector<u8>()>> made_files_;
    std::map<u16, std::function<std::vector<u8>()>> makers_;

    base::Mutex mutex_;
    const std::vector<u8>* selected_ GUARDED_BY(mutex_) = nullptr;
    u64 at_ GUARDED_BY(mutex_) = 0;
    u32 dma_high_ GUARDED_BY(mutex_) = 0;
};

}  // namespace triune::device

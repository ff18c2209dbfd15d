// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0

/// A virtqueue whose rings and descriptors are the fuzzer's, and change while they are being used.
#include <algorithm>
#include <cstdlib>

#include "device/virtio_queue.h"

namespace {

using namespace triune;
using device::VirtioChain;
using device::VirtioQueue;

constexpr u64 ram = 64 << 10;

class Input {
public:
    Input(const u8* data, size_t size) : p_(data), end_(data + size) {}
    [[nodiscard]] bool empty() const { return p_ == end_; }
    u8 byte() { return empty() ? u8{0} : *p_++; }
    u16 half() { return static_cast<u16>(byte() | byte() << 8); }
    void fill(u8* to, size_t n) {
        const size_t have = std::min(n, static_cast<size_t>(end_ - p_));
        std::copy_n(p_, have, to);
        p_ += have;
    }

private:
    const u8* p_;
    const u8* end_;
};

void check(bool ok) {
    if (!ok) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    static const auto memory = [] {
        auto m = std::move(*memory::GuestMemory::create(ram));
        check(m->add_slot(0, ram / 2, 0).has_value());
        check(m->add_slot(ram / 2, ram / 4, ram / 2).has_value());
        check(m->add_slot(0xf0000, ram / 4, ram / 4 * 3, true).has_value());
        return m;
    }();
    Input in(data, size);
    for (const memory::Slot& s : memory->slots()) std::fill_n(s.host, s.size, u8{0});

    VirtioQueue queue(*memory);
    const u8 shape = in.byte();
    const u32 entries = shape & 0x80 ? in.half() : 1U << (shape & 7);
    const u64 features = (shape & 8 ? device::virtio_feature::indirect_desc : 0) |
                         (shape & 16 ? device::virtio_feature::event_idx : 0);
    const bool placed = shape & 32;
    queue.configure({.size = entries,
                     .descriptors = placed ? in.half() & ~15ULL : 0,
                     .driver = placed ? in.half() & ~1ULL : 0x1000,
                     .device = placed ? in.half() & ~3ULL : 0x2000},
                    features);

    VirtioChain chains[4];
    u16 popped = 0;
    for (int steps = 0; !in.empty() && steps < 4096; steps++) {
        switch (in.byte() % 8) {
            case 0:
            case 1: {  // the guest writes somewhere
                const u16 at = in.half();
                const u8 n = in.byte() & 63;
                if (u8* p = memory->host(at, n)) in.fill(p, n);
                break;
            }
            case 2: {  // the guest makes one more request available
                u8* p = memory->host(0x1000, 4);
                const u16 index = static_cast<u16>(p[2] | p[3] << 8);
                p[2] = static_cast<u8>(index + 1), p[3] = static_cast<u8>((index + 1) >> 8);
                break;
            }
            case 3:
            case 4: {
                VirtioChain& c = chains[popped % 4];
                const auto got = queue.pop(c);
                check(got != VirtioQueue::Pop::chain || queue.ready());
                if (got != VirtioQueue::Pop::chain) break;
                popped++;
                u64 total = 0;
                check(c.writable.size() == c.writable_gpa.size());
                for (size_t i = 0; i < c.writable.size(); i++) {
                    const memory::Slot* s = memory->slot_of(c.writable_gpa[i]);
                    check(s && !s->readonly && c.writable[i].iov_len > 0);
                    check(memory->host(c.writable_gpa[i], c.writable[i].iov_len) == c.writable[i].iov_base);
                    total += c.writable[i].iov_len;
                }
                check(total == c.writable_size);
                u8 buffer[256];
                const u64 at = in.byte();
                const u64 n = c.read(at, buffer, sizeof buffer);
                check(n == std::min<u64>(sizeof buffer, c.readable_size - std::min(at, c.readable_size)));
                c.write(in.half(), buffer, in.byte());
                break;
            }
            case 5:
                if (popped) queue.stage(chains[(popped - 1) % 4], in.half());
                queue.publish();
                queue.interrupt_needed();
                break;
            case 6:
                queue.enable_notifications();
                check(!queue.has_more() || queue.ready());
                break;
            default:
                if (popped) queue.unpop(1), popped--;
                queue.disable_notifications();
                break;
        }
    }
    return 0;
}

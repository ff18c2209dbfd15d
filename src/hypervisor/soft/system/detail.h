// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Private to soft/system: descriptors, stacks and checks that its files share. Functions here
/// change guest memory at most (accessed and busy bits, stack frames), never VcpuState, unless
/// they say so; callers put new state together and commit it when nothing can fail any more.
#include "base/bits.h"
#include "hypervisor/soft/system/system.h"

// Gives a guest fault (or a page fault) in `expr` back to the caller.
#define SYS_CHECK(expr)                                                                           \
    do {                                                                                          \
        if (auto check_ = (expr); !check_) [[unlikely]]                                           \
            return std::unexpected(::triune::hypervisor::soft::system::to_fault(check_.error())); \
    } while (0)
// The same, and names the value.
#define SYS_TRY(name, expr) \
    auto name = (expr);     \
    if (!name) [[unlikely]] \
    return std::unexpected(::triune::hypervisor::soft::system::to_fault(name.error()))

namespace triune::hypervisor::soft::system {

using x86::Seg;
using x86::Segment;
using x86::VcpuState;
namespace flag = x86::flag;

inline Fault to_fault(const mmu::PageFault& f) { return Fault::pf(f); }
inline const Fault& to_fault(const Fault& f) { return f; }
inline std::unexpected<Fault> raise(const Fault& f) { return std::unexpected(f); }

/// System descriptor and gate types (Intel SDM 3A table 3-2). 16-bit ones have bit 3 clear.
namespace systype {
inline constexpr unsigned tss16 = 1, ldt = 2, tss16_busy = 3, call16 = 4, task_gate = 5, interrupt16 = 6,
                          trap16 = 7, tss32 = 9, tss32_busy = 11, call32 = 12, interrupt32 = 14, trap32 = 15;
}

inline constexpr u32 attr_unusable = 1u << 16;
inline constexpr u32 attr_long = 1u << 13, attr_big = 1u << 14, attr_granular = 1u << 15;

/// A descriptor as it lies in memory; `high` only for the 16-byte ones of long mode.
struct Descriptor {
    u64 low = 0, high = 0;

    [[nodiscard]] unsigned type() const { return (low >> 40) & 15; }
    [[nodiscard]] bool system() const { return !base::bit(low, 44); }
    [[nodiscard]] unsigned dpl() const { return (low >> 45) & 3; }
    [[nodiscard]] bool present() const { return base::bit(low, 47); }
    [[nodiscard]] bool long_mode() const { return base::bit(low, 53); }
    [[nodiscard]] bool db() const { return base::bit(low, 54); }
    [[nodiscard]] bool code() const { return !system() && (type() & 8); }
    [[nodiscard]] bool conforming() const { return type() & 4; }
    [[nodiscard]] bool writable_data() const { return !system() && (type() & 10) == 2; }
    /// Data, or code that may be read.
    [[nodiscard]] bool readable() const { return !system() && (type() & 10) != 8; }
    [[nodiscard]] u64 base32() const { return ((low >> 16) & 0xffffff) | ((low >> 56) << 24); }
    [[nodiscard]] u64 base64() const { return base32() | (high << 32); }
    [[nodiscard]] u32 limit() const {
        const u32 l = static_cast<u32>(low & 0xffff) | static_cast<u32>((low >> 32) & 0xf0000);
        return base::bit(low, 55) ? (l << 12) | 0xfff : l;
    }
    [[nodiscard]] u32 attr() const { return static_cast<u32>(low >> 40) & 0xf0ff; }
    /// The hidden part for `selector`; base of 64 bits when `wide`.
    [[nodiscard]] Segment segment(u16 selector, bool wide = false) const {
        return {selector, 0, attr(), wide ? base64() : base32(), limit(), 0};
    }
    // Gates.
    [[nodiscard]] u16 gate_selector() const { return static_cast<u16>(low >> 16); }
    [[nodiscard]] u64 gate_offset() const {
        return (low & 0xffff) | ((low >> 32) & 0xffff0000) | (high << 32);
    }
    [[nodiscard]] unsigned gate_ist() const { return (low >> 32) & 7; }
    [[nodiscard]] unsigned gate_parameters() const { return (low >> 32) & 31; }
};

/// A change of CR0 or CR4 after which PAE paging reads its PDPTEs anew.
constexpr u64 pdpte_cr0 = x86::cr0::pg | x86::cr0::cd | x86::cr0::nw;
constexpr u64 pdpte_cr4 = x86::cr4::pae | x86::cr4::pge | x86::cr4::pse | x86::cr4::smep;

constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }
constexpr u16 error_of(u16 selector) { return selector & ~3; }
constexpr unsigned rpl_of(u16 selector) { return selector & 3; }

/// Linear address of a system structure: 32 bits outside long mode.
inline Gva system_address(const VcpuState& st, u64 base, u64 offset) {
    const u64 a = base + offset;
    return st.long_mode_active() ? a : a & 0xffffffff;
}

/// Access to system structures (supervisor rights whatever the CPL).
Guest<u64> read_system(System& s, u64 base, u64 offset, unsigned size);
Guest<void> write_system(System& s, u64 base, u64 offset, u64 value, unsigned size);

/// The descriptor of a non-null selector; `beyond_limit` when it is not wholly in its table.
Guest<Descriptor> read_descriptor(System& s, u16 selector, const Fault& beyond_limit);
/// Long mode: adds the upper half of a system descriptor; `bad` also when its type bits are not 0.
Guest<void> read_descriptor_high(System& s, u16 selector, Descriptor& d, const Fault& bad);
/// Sets the accessed bit in memory (and in `d`) of a code or data descriptor.
Guest<void> mark_accessed(System& s, u16 selector, Descriptor& d);
/// Sets or clears the busy bit of a TSS descriptor in the GDT.
Guest<void> set_busy(System& s, u16 selector, const Descriptor& d, bool busy);

inline Segment null_segment(u16 selector, unsigned dpl = 0) {
    return {selector, 0, attr_unusable | (dpl << 5), 0, 0, 0};
}
/// Flat segments that SYSCALL and its like load.
inline Segment flat_code(u16 selector, unsigned dpl, bool long_mode) {
    return {selector, 0,          0x9bu | (dpl << 5) | (long_mode ? attr_long : attr_big) | attr_granular,
            0,        0xffffffff, 0};
}
inline Segment flat_stack(u16 selector, unsigned dpl) {
    return {selector, 0, 0x93u | (dpl << 5) | attr_big | attr_granular, 0, 0xffffffff, 0};
}
/// Virtual-8086 segment.
inline Segment v8086_segment(u16 selector) { return {selector, 0, 0xf3, u64{selector} << 4, 0xffff, 0}; }
/// Real-mode load: selector and base change, limit and size stay (so that "unreal mode" works).
Segment real_segment(const Segment& old, u16 selector);

/// Linear address of [offset, offset+size) in `seg` outside 64-bit mode; `bad` on violation.
Guest<Gva> segment_linear(const VcpuState& st, const Segment& seg, u64 offset, unsigned size,
                          mmu::Access access, const Fault& bad);

/// A stack as it will be: pushes of a frame go there before any state changes.
struct Stack {
    Segment ss;
    u64 rsp = 0;
    unsigned bits = 64;  ///< width of the stack pointer: 16, 32, 64
    mmu::Privilege privilege = mmu::Privilege::supervisor;

    static Stack current(System& s);
    /// RSP register after the change to `value`: 16-bit stacks leave the upper bits alone.
    [[nodiscard]] u64 merged(u64 value) const {
        return bits == 64 ? value : bits == 32 ? value & 0xffffffff : (rsp & ~u64{0xffff}) | (value & 0xffff);
    }
};
/// Values in the order in which they are pushed.
struct Frame {
    std::array<u64, 48> value;
    unsigned count = 0;
    void push(u64 v) { value[count++] = v; }
};
/// Pushes `frame` in items of `bytes` (2, 4, 8) to `stack` and moves stack.rsp; `bad` on a limit or
/// canonical violation. Nothing is written when it fails, unless the stack wraps around.
Guest<void> push_frame(System& s, Stack& stack, const Frame& frame, unsigned bytes, const Fault& bad);
/// Reads `count` items of `bytes` from `stack` upwards, the first popped first; stack.rsp moves.
Guest<void> pop_frame(System& s, Stack& stack, u64* values, unsigned count, unsigned bytes);

/// Outside long mode: SS:ESP for `cpl` from the TSS, with all checks (Intel SDM 2A CALL, INT n).
Guest<Stack> tss_stack(System& s, unsigned cpl);
/// Long mode: RSP for `cpl` from the TSS (`ist` 0) or IST entry `ist`; canonical.
Guest<u64> tss_stack64(System& s, unsigned cpl, unsigned ist);

/// CS for a transfer without gate that keeps the CPL (JMP, CALL; `d` is a code descriptor), or goes
/// to that of the selector (RET, IRET): checks and accessed bit. The segment has the right RPL.
Guest<Segment> code_segment_for_jump(System& s, u16 selector, Descriptor d);
Guest<Segment> code_segment_for_return(System& s, u16 selector);
/// SS for a return to `cpl`; `to_long` when the code returned to is 64-bit.
Guest<Segment> stack_segment_for_return(System& s, u16 selector, unsigned cpl, bool to_long);
/// Data segments that code at `cpl` may not use become null (returns to outer privilege).
void drop_inaccessible_segments(VcpuState& st, unsigned cpl);
/// New RIP fits in `cs`: canonical or within its limit.
Guest<void> check_target(System& s, const Segment& cs, u64 rip);

/// Hardware task switch (Intel SDM 3A 7.3), outside long mode. The old task is left with
/// `return_rip` and `flags`. The one exception to "what fails leaves state unchanged": once the
/// switch is made, faults of the new task's segments are raised in the new task, RIP included.
enum class TaskSwitch : u8 { jump, call, gate, iret };
Guest<void> task_switch(System& s, u16 tss_selector, TaskSwitch source, u64 return_rip, u64 flags,
                        std::optional<u32> error_code = std::nullopt);

/// The four PDPTEs that PAE paging loads with CR3 = `cr3` (Intel SDM 3A 4.4.1): #GP(0) when a present one
/// has a reserved bit set.
Guest<std::array<u64, 4>> read_pdptes(System& s, u64 cr3);
/// Canonical as far as the processor supports (57 bits with LA57, whatever CR4 says): what registers
/// and descriptors that hold linear addresses are checked for (Intel SDM 3A 4.5.3).
bool loadable_address(System& s, u64 address);

/// Sets DR6 for the breakpoint conditions `hits` (bits of DR6) and gives the #DB to raise.
inline Fault debug_exception(VcpuState& st, u32 hits) {
    st.dr[6] = (st.dr[6] & ~u64{x86::dr6::hits}) | hits;
    return Fault::db();
}

/// Writes the KVM clock structures that the guest asked for (all of them after the TSC changed).
void kvmclock_write_wall_clock(System& s, Gpa gpa);
void kvmclock_update(System& s);

/// Access for this module's free functions to System's private parts.
struct SystemDetail {
    static const Features& features(System& s) {
        if (s.features_.model != s.vcpu_.model) [[unlikely]]
            s.features_ = Features::of(*s.vcpu_.model);
        return s.features_;
    }
    static void record(System& s, const Fault& f) {
        const auto& st = s.vcpu_.state;
        s.recent_[s.recent_count_++ % s.recent_.size()] = {f.vector, f.has_error_code ? f.error_code : 0,
                                                           st.rip, f.cr2};
    }
};

}  // namespace triune::hypervisor::soft::system

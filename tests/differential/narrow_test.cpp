// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "differential/generator.h"
#include "differential/settle.h"
#include "hypervisor/soft/bt/test_guest.h"
#include "hypervisor/soft/interp/interp.h"

/// Random 16- and 32-bit code on both engines, in every mode that runs it: straight lines with jumps over
/// instructions, calls, small loops, segment loads, and addresses at the ends of segments.
namespace triune::differential {
namespace {

using hypervisor::soft::bt::Options;
using hypervisor::soft::bt::TestGuest;
using hypervisor::soft::cpu::EngineExit;
using hypervisor::soft::interp::Interpreter;
using x86::CodeSize;
using x86::Insn;
using x86::OperandKind;

u64 setting(const char* name, u64 otherwise) {
    const char* v = std::getenv(name);
    return v ? std::strtoull(v, nullptr, 0) : otherwise;
}

class NoDevices final : public hypervisor::Io {
    u32 port_read(u16, unsigned) override { return ~0u; }
    void port_write(u16, u32, unsigned) override {}
    u64 mmio_read(Gpa, unsigned) override { return ~u64{0}; }
    void mmio_write(Gpa, u64, unsigned) override {}
};

enum class Mode { compatibility, flat32, segments32, segments16, mixed, real, big_real, v8086 };
constexpr std::array modes{Mode::compatibility, Mode::flat32, Mode::segments32, Mode::segments16,
                           Mode::mixed,         Mode::real,   Mode::big_real,   Mode::v8086};
constexpr std::array mode_names{"compatibility", "flat32", "segments32", "segments16",
                                "mixed",         "real",   "big_real",   "v8086"};

/// Interrupts endless loops of translated code.
class Ticker {
public:
    explicit Ticker(hypervisor::soft::cpu::Signals& s)
        : thread_([this, &s] {
              while (!stop_) {
                  s.pending = 1;
                  std::this_thread::sleep_for(std::chrono::milliseconds(20));
              }
          }) {}
    ~Ticker() {
        stop_ = true;
        thread_.join();
    }

private:
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// Where things lie: code at offset `entry` of CS; data around `middle` of DS and ES, the stack below it in
/// SS.
constexpr u32 entry = 0x400, code_base = 0x100000, data_base = 0x200000, stack_base = 0x300000;
constexpr u32 middle = 0x8000;
constexpr Gpa gdt = 0x800000;

bool is_flat(Mode m) { return m == Mode::compatibility || m == Mode::flat32; }
CodeSize code_size(Mode m) {
    return m == Mode::real || m == Mode::big_real || m == Mode::v8086 || m == Mode::segments16
               ? CodeSize::bits16
               : CodeSize::bits32;
}
bool is_protected(Mode m) { return m != Mode::real && m != Mode::big_real && m != Mode::v8086; }

struct Sequence {
    Mode mode{};
    std::vector<u8> code;
    std::string text;
    u32 undefined_flags = 0;
    Registers registers;
    std::array<x86::Segment, 6> segments;
};

class NarrowGenerator {
public:
    explicit NarrowGenerator(u64 seed) : generator_(seed) {}

    Sequence make(Mode mode) {
        Sequence s;
        s.mode = mode;
        size_ = code_size(mode);
        s.registers = generator_.registers();
        for (unsigned r = 0; r < 8; ++r) s.registers.gpr[r] = address(mode);
        s.registers.gpr[x86::rsp] = (is_flat(mode) ? stack_base : 0) + middle + random() % 16;
        if (random() % 8 == 0)
            s.registers.gpr[x86::rsp] = (is_flat(mode) ? stack_base : 0) + 0x1000 + random() % 16 - 8;
        if (random() % 16 == 0 && !is_flat(mode)) s.registers.gpr[x86::rsp] = random() % 24;
        if (random() % 4 == 0) s.registers.gpr[random() % 8] |= random() << 32;  // what long mode left there
        segments(s);
        undefined_ = 0;
        const u64 length = 1 + random() % 20;
        for (u64 n = 0; n < length; ++n) piece(s, true);
        s.undefined_flags = undefined_;
        return s;
    }

private:
    u64 random() { return generator_.number(); }

    /// An offset that is likely to be within the data, or at an end of a segment.
    u32 address(Mode mode) {
        const u32 base = is_flat(mode) ? data_base : 0;
        switch (random() % 16) {
            case 0: return static_cast<u32>(random());
            case 1: return 0xffffffff - static_cast<u32>(random() % 12);
            case 2: return 0xffff - static_cast<u32>(random() % 12);
            case 3: return static_cast<u32>(random() % 12);
            case 4: return base + 0x1000 + static_cast<u32>(random() % 16) - 8;
            default: return base + middle + static_cast<u32>(random() % 128) - 64;
        }
    }

    void segments(Sequence& s) {
        const auto set = [&](unsigned n, u32 base, u32 limit, u32 attr) {
            s.segments[n] = {static_cast<u16>(n == x86::cs ? 8 : 16), 0, attr, base, limit, 0};
        };
        const bool code32 = size_ == CodeSize::bits32;
        const u32 big = 1u << 14;
        switch (s.mode) {
            case Mode::compatibility:
            case Mode::flat32:
                for (const unsigned n : {x86::es, x86::ss, x86::ds, x86::fs, x86::gs})
                    set(n, 0, 0xffffffff, 0xc093);
                set(x86::cs, 0, 0xffffffff, 0xc09b);
                if (random() % 2) set(x86::fs, data_base + middle, 0xffffffff, 0xc093);
                if (random() % 2) set(x86::gs, data_base, 0xffff, 0x4093);
                if (random() % 8 == 0) set(x86::es, data_base, 0xffff, 0x4091);  // not writable
                if (random() % 8 == 0) s.segments[x86::gs] = {0, 0, 0x10000, 0, 0, 0};
                if (random() % 8 == 0) set(x86::cs, 0, code_base + entry + 60, 0x409b);
                break;
            case Mode::segments32:
            case Mode::segments16:
            case Mode::mixed:
                for (const unsigned n : {x86::es, x86::ds, x86::fs, x86::gs}) {
                    set(n, data_base + (n == x86::es ? 8 : 0), random() % 4 ? 0xffff : middle + 16, 0x4093);
                    if (random() % 8 == 0) set(n, data_base, middle - 32, 0x4097);  // expands down
                    if (random() % 8 == 0) set(n, data_base, 0xffff, 0x4091);
                    if (random() % 8 == 0) set(n, data_base, 0xffffffff, 0xc093);
                    if (random() % 8 == 0) set(n, code_base, 0xffff, 0x409b);
                }
                set(x86::ss, stack_base, 0xffff, 0x0093 | ((s.mode == Mode::mixed) != code32 ? big : 0));
                set(x86::cs, code_base, random() % 4 ? 0xffff : entry + 50, 0x009b | (code32 ? big : 0));
                break;
            default: {
                const u32 attr = s.mode == Mode::v8086 ? 0xf3 : 0x93;
                for (unsigned n = 0; n < 6; ++n) {
                    const u32 base = n == x86::cs ? 0x10000 : n == x86::ss ? 0x30000 : 0x20000 + n * 16;
                    set(n, base, 0xffff, attr);
                    s.segments[n].selector = static_cast<u16>(base >> 4);
                    if (s.mode == Mode::big_real && n != x86::cs) s.segments[n].limit = 0xffffffff;
                }
            }
        }
    }

    [[nodiscard]] bool usable(const Sequence& s, const Insn& i) const {
        if (i.is_branch || i.privileged) return false;
        switch (i.mnemonic) {
            case ZYDIS_MNEMONIC_ENTER:
            case ZYDIS_MNEMONIC_LEAVE:
            case ZYDIS_MNEMONIC_BT:
            case ZYDIS_MNEMONIC_BTS:
            case ZYDIS_MNEMONIC_BTR:
            case ZYDIS_MNEMONIC_BTC: break;
            case ZYDIS_MNEMONIC_INSB:
            case ZYDIS_MNEMONIC_INSW:
            case ZYDIS_MNEMONIC_INSD:
            case ZYDIS_MNEMONIC_OUTSB:
            case ZYDIS_MNEMONIC_OUTSW:
            case ZYDIS_MNEMONIC_OUTSD:
            case ZYDIS_MNEMONIC_SALC:
            case ZYDIS_MNEMONIC_XABORT:
            case ZYDIS_MNEMONIC_POPF:
            case ZYDIS_MNEMONIC_POPFD:
            case ZYDIS_MNEMONIC_MONITOR:
            case ZYDIS_MNEMONIC_MWAIT: return false;
            case ZYDIS_MNEMONIC_PUSHF:
            case ZYDIS_MNEMONIC_PUSHFD: return undefined_ == 0;
            default:
                if (excluded(i)) return false;
        }
        for (u8 n = 0; n < i.operand_count; ++n) {
            if (i.op[n].kind == OperandKind::control || i.op[n].kind == OperandKind::debug || i.op[n].vsib)
                return false;
            // Code that changes itself is another test's business.
            if (i.op[n].kind == OperandKind::mem && i.op[n].written && i.op[n].segment == x86::cs)
                return false;
        }
        if (i.rep || i.repne) return false;  // the count may be large
        // A stack far away ends most sequences.
        bool esp = false;
        for (u8 n = 0; n < i.operand_count; ++n)
            esp |= i.op[n].kind == OperandKind::gpr && i.op[n].reg == x86::rsp && i.op[n].written &&
                   i.op[n].is_explicit;
        if (esp && i.mnemonic != ZYDIS_MNEMONIC_INC && i.mnemonic != ZYDIS_MNEMONIC_DEC) return false;
        static_cast<void>(s);
        return !(i.flags_read & undefined_);
    }

    /// Bytes that are likely to be an instruction that does something here.
    Insn instruction(const Sequence& s) {
        for (;;) {
            std::array<u8, 15> b{};
            size_t n = 0;
            if (random() % 5 == 0) b[n++] = 0x66;
            if (random() % 6 == 0) b[n++] = 0x67;
            constexpr std::array<u8, 6> overrides{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
            if (random() % 6 == 0) b[n++] = overrides[random() % 6];
            if (random() % 20 == 0) b[n++] = 0xf0;
            if (random() % 10 == 0) b[n++] = random() % 2 ? 0xf3 : 0xf2;
            const u64 map = random() % 8;
            if (map >= 4) b[n++] = 0x0f;
            if (map == 6) b[n++] = 0x38;
            if (map == 7) b[n++] = 0x3a;
            if (random() % 12 == 0) {
                n = 0;
                b[n++] = random() % 2 ? 0xc5 : 0xc4;
                if (b[0] == 0xc4) b[n++] = static_cast<u8>(0xe0 | (1 + random() % 3));
                b[n++] = static_cast<u8>(random());
            }
            for (; n < 15; ++n) b[n] = static_cast<u8>(random() % 3 ? random() : random() % 16 - 8);
            Insn i;
            if (x86::decode(b, size_, i) != x86::DecodeStatus::ok) continue;
            if (i.uses_vector_state && random() % 3) continue;
            if (i.memory() && i.memory()->disp > 0x100 && i.imm_offset == 0 && random() % 2) continue;
            if (usable(s, i)) return i;
        }
    }

    void append(Sequence& s, std::span<const u8> bytes) {
        s.text += x86::disassemble(bytes, size_, 0) + "\n";
        s.code.insert(s.code.end(), bytes.begin(), bytes.end());
        Insn i;
        if (x86::decode(bytes, size_, i) != x86::DecodeStatus::ok) return;
        const u32 kept = i.flags_written & ~i.flags_maybe_written;
        undefined_ = (undefined_ & ~kept) | i.flags_undefined;
    }
    void append(Sequence& s, const Insn& i) { append(s, std::span(i.bytes).first(i.length)); }

    static bool writes(const Insn& i, u8 reg) {
        for (u8 n = 0; n < i.operand_count; ++n)
            if (i.op[n].kind == OperandKind::gpr && i.op[n].written && i.op[n].reg == reg) return true;
        return false;
    }

    void piece(Sequence& s, bool nest) {
        const bool words = size_ == CodeSize::bits16;
        switch (nest ? random() % 16 : 15) {
            case 0: {  // jcc over an instruction
                const u32 before = undefined_;
                const u8 cc = static_cast<u8>(random() & 15);
                if (undefined_) break;
                const Insn over = instruction(s);
                append(s, std::array<u8, 2>{static_cast<u8>(0x70 | cc), over.length});
                append(s, over);
                undefined_ |= before;
                break;
            }
            case 1: {  // call next; pop or leave it there
                if (words) {
                    append(s, std::array<u8, 3>{0xe8, 0, 0});
                } else {
                    append(s, std::array<u8, 5>{0xe8, 0, 0, 0, 0});
                }
                if (random() % 2) append(s, std::array<u8, 1>{0x58});
                break;
            }
            case 2: {  // call over a body that ends in ret
                const Insn body = instruction(s);
                if (writes(body, x86::rsp)) break;
                const u8 pop = random() % 2 ? 4 : 0;
                const u8 length = static_cast<u8>(body.length + (pop ? 3 : 1));
                if (words) {
                    append(s, std::array<u8, 3>{0xe8, 2, 0});
                } else {
                    append(s, std::array<u8, 5>{0xe8, 2, 0, 0, 0});
                }
                append(s, std::array<u8, 2>{0xeb, length});
                append(s, body);
                if (pop) {
                    append(s, std::array<u8, 3>{0xc2, pop, 0});
                } else {
                    append(s, std::array<u8, 1>{0xc3});
                }
                break;
            }
            case 3: {  // a small loop
                const u32 before = undefined_;
                const Insn a = instruction(s);
                if (writes(a, x86::rcx) || (a.flags_read & (before | a.flags_undefined))) break;
                if (random() % 2) append(s, std::array<u8, 3>{0x83, 0xe1, 3});
                append(s, std::array<u8, 2>{0xb1, static_cast<u8>(1 + random() % 5)});
                append(s, std::array<u8, 2>{0xb5, 0});
                if (!words) append(s, std::array<u8, 3>{0x0f, 0xb7, 0xc9});
                append(s, a);
                if (random() % 2) {
                    append(s, std::array<u8, 2>{0xe2, static_cast<u8>(-2 - a.length)});
                } else {  // dec ecx, whatever the stack did
                    append(s, std::array<u8, 1>{0x49});
                    append(s, std::array<u8, 2>{0x75, static_cast<u8>(-3 - a.length)});
                }
                undefined_ |= before;
                break;
            }
            case 4:  // jcxz, jecxz
                if (random() % 2) s.code.push_back(0x67);
                append(s, std::array<u8, 2>{0xe3, 0});
                break;
            case 5: {  // push the address behind; ret or jmp there
                const u32 eip = offset(s) + (words ? 4 : 6);
                if (words) {
                    append(s, std::array<u8, 3>{0x68, static_cast<u8>(eip), static_cast<u8>(eip >> 8)});
                } else {
                    append(s, std::array<u8, 5>{0x68, static_cast<u8>(eip), static_cast<u8>(eip >> 8),
                                                static_cast<u8>(eip >> 16), static_cast<u8>(eip >> 24)});
                }
                append(s, std::array<u8, 1>{0xc3});
                break;
            }
            case 6: {  // mov ax, imm; jmp ax
                const u32 eip = offset(s) + (words ? 5 : 7);
                if (words) {
                    append(s, std::array<u8, 3>{0xb8, static_cast<u8>(eip), static_cast<u8>(eip >> 8)});
                } else {
                    append(s, std::array<u8, 5>{0xb8, static_cast<u8>(eip), static_cast<u8>(eip >> 8),
                                                static_cast<u8>(eip >> 16), static_cast<u8>(eip >> 24)});
                }
                append(s, std::array<u8, 2>{0xff, static_cast<u8>(random() % 2 ? 0xe0 : 0xd0)});
                break;
            }
            case 7: {  // a segment that exists
                const u16 selector = is_protected(s.mode) ? static_cast<u16>(8 * (1 + random() % 8))
                                                          : static_cast<u16>(0x2000 + random() % 64);
                append(s, std::array<u8, 4>{words ? u8{0x90} : u8{0x66}, 0xb8, static_cast<u8>(selector),
                                            static_cast<u8>(selector >> 8)});
                constexpr std::array<u8, 4> to{0xc0, 0xd8, 0xe0, 0xe8};
                append(s, std::array<u8, 2>{0x8e, to[random() % 4]});
                break;
            }
            case 8: {  // runs of pushes and pops
                for (u64 n = random() % 5; n; --n)
                    append(s, std::array<u8, 1>{static_cast<u8>(0x50 | (random() & 7))});
                static constexpr std::array<u8, 6> to{0, 1, 2, 3, 5, 6};
                for (u64 n = random() % 4; n; --n)
                    append(s, std::array<u8, 1>{static_cast<u8>(0x58 | to[random() % 6])});
                break;
            }
            case 9: {  // accesses a little apart
                const u8 reg = words ? static_cast<u8>(4 + random() % 4) : static_cast<u8>(random() % 4);
                const u8 disp = static_cast<u8>(random());
                for (u64 n = 2 + random() % 3; n; --n) {
                    constexpr std::array<u8, 5> op{0x8b, 0x89, 0x01, 0x03, 0x88};
                    const u8 to = static_cast<u8>(random() % 3 << 3);
                    append(s, std::array<u8, 3>{op[random() % 5], static_cast<u8>(0x40 | to | reg),
                                                static_cast<u8>(disp + random() % 8)});
                }
                break;
            }
            case 10: {  // repeated string instructions
                append(s, std::array<u8, 2>{0xb1, static_cast<u8>(random() % 64)});
                append(s, std::array<u8, 2>{0xb5, 0});
                append(s, std::array<u8, 4>{words ? u8{0x66} : u8{0x90}, 0x0f, 0xb7, 0xc9});
                constexpr std::array<u8, 10> op{0xa4, 0xa5, 0xaa, 0xab, 0xa4, 0xa5, 0xaa, 0xac, 0xa6, 0xaf};
                if (random() % 4 == 0) s.code.push_back(0x66);
                if (random() % 4 == 0) s.code.push_back(0x67);
                if (random() % 4 == 0) s.code.push_back(random() % 2 ? 0x36 : 0x64);
                append(s, std::array<u8, 2>{0xf3, op[random() % op.size()]});
                break;
            }
            default: append(s, instruction(s));
        }
    }

    [[nodiscard]] static u32 offset(const Sequence& s) {
        return (is_flat(s.mode) ? code_base : 0) + entry + static_cast<u32>(s.code.size());
    }

    Generator generator_;
    CodeSize size_ = CodeSize::bits32;
    u32 undefined_ = 0;
};

class Runner final : public memory::CodeWatcher {
public:
    Runner(const Options& options, bool translate)
        : guest_(options), interp_(guest_.system()), translate_(translate) {
        guest_.context().io = &io_;
        guest_.memory().add_code_watcher(this);
        std::memcpy(low_.data(), &guest_.at<u8>(0), low_.size());
    }
    ~Runner() override { guest_.memory().remove_code_watcher(this); }

    void code_written(Gpa gpa, u64 size) override { written_.emplace_back(gpa, size); }

    /// True when it came to the end of the code; false: an exception.
    bool run(const Sequence& q) {
        x86::VcpuState& s = guest_.state();
        s.gpr = q.registers.gpr;
        for (unsigned n = 8; n < 16; ++n) s.gpr[n] = n * 0x0101010101010101;
        s.rflags = (q.registers.flags & ~u64{x86::flag::df}) | x86::flag::fixed;
        if (q.mode == Mode::v8086) s.rflags |= x86::flag::vm | x86::flag::iopl;
        s.xsave = q.registers.xsave;
        s.halted = 0;
        ended = true;
        s.interrupt_shadow = 0;
        s.seg = q.segments;
        const bool paging = q.mode == Mode::compatibility;
        s.efer = paging ? x86::efer::lme | x86::efer::lma : 0;
        s.cr0 = x86::cr0::et | x86::cr0::ne | (paging ? x86::cr0::pg | x86::cr0::wp : 0) |
                (q.mode == Mode::real || q.mode == Mode::big_real ? 0 : x86::cr0::pe);
        s.gdtr = {gdt, 0xff, 0};
        s.idtr = {};
        // 16-bit addresses reach the page tables.
        std::memcpy(&guest_.at<u8>(0), low_.data(), low_.size());
        guest_.mmu().flush_all();
        const u32 offset = (is_flat(q.mode) ? code_base : 0) + entry;
        const Gpa at = q.segments[x86::cs].base + offset;
        s.rip = offset;
        EXPECT_TRUE(guest_.memory().write(at, q.code.data(), q.code.size()));
        const u8 end[32] = {0xf4};
        EXPECT_TRUE(guest_.memory().write(at + q.code.size(), end, sizeof end));
        const u64 end_rip = offset + q.code.size();
        invalidate();
        for (int steps = 0; steps < 50000; ++steps) {
            guest_.context().signals.pending = 0;
            if (translate_) {
                const auto exit = guest_.translator().run();
                if (exit == EngineExit::shutdown) return false;
                if (exit == EngineExit::signalled) {
                    steps += 10000;
                    continue;
                }
            }
            const auto step = interp_.step();
            invalidate();
            if (step == Interpreter::Step::halted || step == Interpreter::Step::shutdown)
                return s.rip == end_rip || s.rip == end_rip + 1;
        }
        ended = false;
        return false;
    }
    /// Data, stacks and descriptors, the same in both.
    void prepare() {
        Generator g(1);
        for (const Gpa base : {Gpa{0x20000}, Gpa{0x30000}, Gpa{data_base}, Gpa{stack_base}})
            g.fill({&guest_.at<u8>(base), 0x10000});
        // Code that goes astray ends where it gets to.
        for (const Gpa base : {Gpa{0x10000}, Gpa{code_base}})
            std::memset(&guest_.at<u8>(base), 0xf4, 0x10000);
        constexpr std::array<u64, 9> descriptors{0,
                                                 0x00cf9b000000ffff,   // flat code
                                                 0x00cf93000000ffff,   // flat data
                                                 0x004093200000ffff,   // 64 KiB at data_base
                                                 0x0040932000008010,   // ends in the middle
                                                 0x0040972000007fe0,   // expands down
                                                 0x004091200000ffff,   // read-only
                                                 0x00cf93200000ffff,   // 4 GiB at data_base
                                                 0x004099100000ffff};  // execute-only
        for (u64 n = 0; n < descriptors.size(); ++n) guest_.at<u64>(gdt + 8 * n) = descriptors[n];
        written_.emplace_back(0, TestGuest::bytes);
    }
    x86::VcpuState& state() { return guest_.state(); }
    TestGuest& guest() { return guest_; }
    bool ended = true;

private:
    void invalidate() {
        for (const auto& [gpa, size] : written_) {
            guest_.translator().invalidate(gpa, size);
            interp_.invalidate(gpa, size);
        }
        written_.clear();
    }

    NoDevices io_;
    TestGuest guest_;
    Interpreter interp_;
    bool translate_;
    std::vector<std::pair<Gpa, u64>> written_;
    std::array<u8, 0x10000> low_{};
    Ticker ticker_{guest_.context().signals};
};

bool compared(unsigned n) { return !(n >= 6 && n < 24) && !(n >= 28 && n < 32) && !(n >= 416 && n < 576); }

void compare(const Options& options, u64 rounds) {
    const u64 seed = setting("TRIUNE_SEED", 20260104), count = setting("TRIUNE_COUNT", rounds);
    NarrowGenerator g(seed);
    Runner reference(options, false), translated(options, true);
    reference.prepare();
    translated.prepare();
    std::array<u64, modes.size()> completed{};
    u64 endless = 0;
    for (u64 round = 0; round < count; ++round) {
        const Mode mode = modes[round % modes.size()];
        const Sequence q = g.make(mode);
        const bool a = reference.run(q), b = translated.run(q);
        SCOPED_TRACE(testing::Message() << "TRIUNE_SEED=" << seed << " round " << round << ", "
                                        << mode_names[round % modes.size()] << ":\n"
                                        << q.text);
        if (!reference.ended || !translated.ended) {
            // It has overwritten itself with a loop that is long for one of them.
            ++endless;
            std::memcpy(&translated.guest().at<u8>(0), &reference.guest().at<u8>(0), TestGuest::bytes);
            reference.prepare();
            translated.prepare();
            continue;
        }
        const x86::VcpuState &r = reference.state(), &t = translated.state();
        ASSERT_EQ(r.rip, t.rip) << std::hex << r.rip << " " << t.rip;
        ASSERT_EQ(a, b) << "reached the end";
        for (unsigned n = 0; n < 16; ++n) ASSERT_EQ(r.gpr[n], t.gpr[n]) << "register " << n;
        for (unsigned n = 0; n < 6; ++n) {
            ASSERT_EQ(r.seg[n].selector, t.seg[n].selector) << "segment " << n;
            ASSERT_EQ(r.seg[n].base, t.seg[n].base) << "segment " << n;
        }
        for (const u64 base : {u64{0x20000}, u64{0x30000}, u64{data_base}, u64{stack_base}})
            ASSERT_EQ(std::memcmp(&reference.guest().at<u8>(base), &translated.guest().at<u8>(base), 0x10000),
                      0)
                << "memory at " << base;
        if (round % 1024 == 1023) {
            ASSERT_EQ(std::memcmp(&reference.guest().at<u8>(0x10000), &translated.guest().at<u8>(0x10000),
                                  TestGuest::bytes - 0x10000),
                      0);
        }
        if (!a) continue;
        ++completed[round % modes.size()];
        const u64 mask = ~u64{q.undefined_flags};
        ASSERT_EQ(r.rflags & mask, t.rflags & mask)
            << std::hex << "reference " << r.rflags << ", translated " << t.rflags;
        auto r_vector = r.xsave, t_vector = t.xsave;
        settle(r_vector);
        settle(t_vector);
        for (unsigned n = 0; n < x86::xsave_size; ++n) {
            if (!compared(n)) continue;
            ASSERT_EQ(r_vector[n], t_vector[n]) << "extended state, byte " << n;
        }
    }
    EXPECT_LE(endless, 1 + count / 1000);
    for (size_t n = 0; n < modes.size(); ++n)
        EXPECT_GT(completed[n], count / modes.size() / 16)
            << mode_names[n] << ": too few sequences ran to their end to mean anything";
    EXPECT_GT(translated.guest().context().counters.get(observe::Counter::blocks_translated), count / 4);
}

TEST(NarrowCode, WholeBlocks) { compare({}, 12000); }
TEST(NarrowCode, SingleInstructions) { compare({.max_instructions = 1}, 4000); }
TEST(NarrowCode, NoChains) { compare({.chain = false, .cache_registers = false}, 4000); }
TEST(NarrowCode, NoMerging) {
    compare({.continue_after_calls = false, .merge_accesses = false, .add_in_address = false}, 4000);
}

}  // namespace
}  // namespace triune::differential

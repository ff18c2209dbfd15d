// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

#include "base/fd.h"
#include "hypervisor/soft/interp/host_exec.h"
#include "hypervisor/soft/interp/host_trap.h"
#include "hypervisor/soft/interp/rewrite.h"
#include "hypervisor/soft/interp/vector_state.h"

namespace triune::hypervisor::soft::interp {

namespace {

/// What the assembly below works with; offsets are checked there.
struct Frame {
    std::array<u64, 16> gpr;
    u64 flags;
    u64 components;  ///< XCR0 bits to load and store
    u8* xsave;
    const u8* fragment;
};
static_assert(offsetof(Frame, flags) == 128 && offsetof(Frame, components) == 136 &&
              offsetof(Frame, xsave) == 144 && offsetof(Frame, fragment) == 152);

}  // namespace

// SAFETY: follows the System V calling convention: callee-saved registers, the stack pointer, the
// direction flag, MXCSR and the x87 control word and stack are as before on return. The fragment is
// one instruction that names neither RSP nor memory other than the executor's buffer, then RET; the
// exceptions that it may raise are masked by the state that is loaded, or a HostTrap returns from it.
extern "C" void triune_interp_run_fragment(void* frame);
asm(R"(
    .pushsection .text
    .globl triune_interp_run_fragment
    .hidden triune_interp_run_fragment
    .type triune_interp_run_fragment, @function
triune_interp_run_fragment:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    sub $24, %rsp
    stmxcsr 16(%rsp)
    fnstcw 20(%rsp)
    mov %rdi, 8(%rsp)
    mov 152(%rdi), %rax
    mov %rax, (%rsp)
    mov 144(%rdi), %rcx
    mov 136(%rdi), %rax
    xor %edx, %edx
    xrstor64 (%rcx)
    push 128(%rdi)
    popfq
    mov 0(%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    call *(%rsp)
    xchg %rdi, 8(%rsp)
    mov %rax, 0(%rdi)
    mov %rcx, 8(%rdi)
    mov %rdx, 16(%rdi)
    mov %rbx, 24(%rdi)
    mov %rbp, 40(%rdi)
    mov %rsi, 48(%rdi)
    mov %r8, 64(%rdi)
    mov %r9, 72(%rdi)
    mov %r10, 80(%rdi)
    mov %r11, 88(%rdi)
    mov %r12, 96(%rdi)
    mov %r13, 104(%rdi)
    mov %r14, 112(%rdi)
    mov %r15, 120(%rdi)
    mov 8(%rsp), %rax
    mov %rax, 56(%rdi)
    pushfq
    pop 128(%rdi)
    mov 144(%rdi), %rcx
    mov 136(%rdi), %rax
    xor %edx, %edx
    xsave64 (%rcx)
    test $1, %al
    jz 2f
    fninit
    fldcw 20(%rsp)
2:  test $4, %al
    jz 1f
    vzeroupper
1:  ldmxcsr 16(%rsp)
    add $24, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size triune_interp_run_fragment, . - triune_interp_run_fragment
    .popsection
)");

namespace {

u64 host_components() {
    u32 low, high;
    // SAFETY: XGETBV reads a register; every processor that Linux runs on with XSAVE has it.
    asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low & 7;
}

/// XCR0 bits of the state that an instruction may touch: x87 and MMX registers are one component.
u8 touched(const x86::Insn& i) {
    if (i.opcode_map == 0 && i.opcode >= 0xd8 && i.opcode <= 0xdf) return 7;
    for (u8 n = 0; n < i.operand_count; ++n)
        if (i.op[n].kind == x86::OperandKind::mmx || i.op[n].kind == x86::OperandKind::x87) return 7;
    return i.vex || i.opcode_map != 0 ? 6 : 7;
}

constexpr size_t slots = 2048, slot_bytes = 32;
constexpr size_t code_bytes = slots * slot_bytes;
constexpr size_t data_bytes = 4096;

}  // namespace

/// Fragments lie in a directly mapped table: a new instruction takes the slot of its hash.
///
///     run view:   [ data page, RW ][ fragments, RX ]      write view: [ fragments, RW ]
struct HostExecutor::Impl {
    u8* data = nullptr;
    u8* code = nullptr;
    u8* writable = nullptr;
    u64 components = host_components();

    struct Slot {
        std::array<u8, 16> key{};  ///< the instruction's bytes; the last: length and code size
        bool rsp_replaced = false;
        u8 components = 0;  ///< XCR0 bits of what it touches
    };
    std::array<Slot, slots> slot{};

    Impl() {
        const base::Fd fd(memfd_create("triune-fragments", MFD_CLOEXEC));
        const auto die = [](const char* what) {
            throw std::system_error(errno, std::generic_category(), what);
        };
        if (!fd || ftruncate(fd.get(), code_bytes)) die("memory for guest vector instructions");
        void* both = mmap(nullptr, data_bytes + code_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (both == MAP_FAILED) die("mapping guest vector instructions");
        data = static_cast<u8*>(both);
        code = data + data_bytes;
        void* w = mmap(nullptr, code_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
        if (w == MAP_FAILED ||
            mmap(code, code_bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd.get(), 0) == MAP_FAILED)
            die("mapping guest vector instructions");
        writable = static_cast<u8*>(w);
    }
    ~Impl() {
        munmap(data, data_bytes + code_bytes);
        munmap(writable, code_bytes);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    size_t find(const x86::Insn& i) {
        std::array<u8, 16> key{};
        std::memcpy(key.data(), i.bytes.data(), i.length);
        key[15] = static_cast<u8>(i.length << 4 | (static_cast<u8>(i.code) + 1));
        u64 a, b;
        std::memcpy(&a, key.data(), 8);
        std::memcpy(&b, key.data() + 8, 8);
        const u64 hash = (a ^ (b * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
        const size_t n = (hash >> 40) % slots;
        if (slot[n].key != key) make(n, key, i);
        return n;
    }
    void make(size_t n, const std::array<u8, 16>& key, const x86::Insn& i) {
        Rewritten r = rewrite_for_host(i);
        static_assert(sizeof r.bytes + 1 <= slot_bytes);
        if (r.disp_offset) {
            const i64 disp = data - (code + n * slot_bytes + r.length);
            const i32 disp32 = static_cast<i32>(disp);
            std::memcpy(&r.bytes[r.disp_offset], &disp32, 4);
        }
        u8* const to = writable + n * slot_bytes;
        std::memcpy(to, r.bytes.data(), r.length);
        to[r.length] = 0xc3;
        slot[n] = {key, r.rsp_replaced, touched(i)};
    }
};

HostExecutor::HostExecutor() : impl_(std::make_unique<Impl>()) {}
HostExecutor::~HostExecutor() = default;
u8* HostExecutor::buffer() { return impl_->data; }

void HostExecutor::run(const x86::Insn& i, x86::VcpuState& state) {
    const size_t n = impl_->find(i);
    const bool rsp_replaced = impl_->slot[n].rsp_replaced;
    Frame f;
    f.gpr = state.gpr;
    if (rsp_replaced) f.gpr[x86::rbp] = state.gpr[x86::rsp];
    f.flags = (state.rflags & x86::flag::arithmetic) | x86::flag::fixed | x86::flag::if_;
    f.components = impl_->components & impl_->slot[n].components;
    f.xsave = state.xsave.data();
    f.fragment = impl_->code + n * slot_bytes;
    // The host's FOP, FIP and FDP are its own: the guest's stay.
    VectorState v(state);
    const bool x87 = f.components & VectorState::x87_bit;
    const std::array<u64, 2> pointers =
        x87 && (v.in_use() & VectorState::x87_bit)
            ? std::array{v.get<u64>(VectorState::fip), v.get<u64>(VectorState::fdp)}
            : std::array<u64, 2>{};
    const u16 fop = x87 && (v.in_use() & VectorState::x87_bit) ? v.get<u16>(VectorState::fop) : u16{0};
    triune_interp_run_fragment(&f);
    if (x87) {
        v.set<u16>(VectorState::fop, fop);
        v.set<u64>(VectorState::fip, pointers[0]);
        v.set<u64>(VectorState::fdp, pointers[1]);
    }
    for (u8 k = 0; k < i.operand_count; ++k) {
        const x86::Operand& o = i.op[k];
        if (o.kind != x86::OperandKind::gpr || !o.written) continue;
        state.gpr[o.reg] = f.gpr[o.reg == x86::rsp ? u8{x86::rbp} : o.reg];
    }
    state.rflags = (state.rflags & ~x86::flag::arithmetic) | (f.flags & x86::flag::arithmetic);
}

bool HostExecutor::run_unmasked(const x86::Insn& i, x86::VcpuState& state) {
    const u64 code = reinterpret_cast<u64>(impl_->code);
    const HostTrap trap(code, code + code_bytes);
    run(i, state);
    return !trap.raised;
}

}  // namespace triune::hypervisor::soft::interp

// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/vcpu.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "hypervisor/kvm/describe_exit.h"
#include "hypervisor/kvm/kick.h"

namespace triune::hypervisor::kvm {

using observe::Counter;

// -- creation ---------------------------------------------------------------------------------------

RunPage::~RunPage() {
    if (run_) ::munmap(run_, bytes_);
}

bool RunPage::map(int vcpu, size_t bytes) {
    void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (p == MAP_FAILED) return false;
    run_ = static_cast<kvm_run*>(p);
    bytes_ = bytes;
    return true;
}

Result<std::unique_ptr<KvmVcpu>> KvmVcpu::create(std::shared_ptr<VmState> vm, unsigned index) {
    base::Fd fd(call(vm->fd(), KVM_CREATE_VCPU, index));
    if (!fd) return fail_errno("KVM: vCPU " + std::to_string(index) + " cannot be created");
    std::unique_ptr<KvmVcpu> vcpu(new KvmVcpu(std::move(vm), std::move(fd), index));
    if (auto r = vcpu->set_up(); !r) return std::unexpected(r.error());
    return vcpu;
}

KvmVcpu::~KvmVcpu() {
    vm_->set_vcpu(index_, -1);
    if (UserChips* const chips = vm_->user_chips()) chips->attach(index_, nullptr);
}

Result<void> KvmVcpu::set_up() {
    if (!run_.map(fd_.get(), vm_->device().run_bytes()))
        return fail_errno("KVM: the run structure cannot be mapped");
    if (auto r = set_cpuid(fd_.get(), vcpu_cpuid(vm_->model(), index_)); !r) return r;
    if (vm_->device().has(KVM_CAP_ENFORCE_PV_FEATURE_CPUID)) {
        // A paravirtual feature that CPUID does not show does not exist.
        kvm_enable_cap enable{};
        enable.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID;
        enable.args[0] = 1;
        if (call(fd_.get(), KVM_ENABLE_CAP, &enable) < 0)
            return fail_errno("KVM: KVM_CAP_ENFORCE_PV_FEATURE_CPUID");
    }
    state_.emplace(fd_.get(), vm_->device(), vm_->model().has("pku"), !vm_->user_chips());
    if (UserChips* const chips = vm_->user_chips()) {
        apic_.emplace(*chips, index_, fd_.get(), *run_.get());
        chips->attach(index_, this);
    }
    kernel_stats_.emplace(fd_.get());
    accept_kicks();
    x86::VcpuState start;
    x86::reset_state(start, false);
    start.tsc_offset = vm_->tsc_offset();
    start.waiting_for_sipi = index_ != 0;
    if (auto r = state_->write(start); !r) return r;
    if (apic_) apic_->take_from(start);
    vm_->set_vcpu(index_, fd_.get());
    return {};
}

// -- contract ---------------------------------------------------------------------------------------

void KvmVcpu::note(const Result<void>& r) {
    if (!r && !broken_) broken_ = r.error().message;
}

x86::VcpuState KvmVcpu::state() {
    auto s = state_->read();
    if (s) {
        if (apic_) apic_->add_to(*s);
        s->amd_hwcr = unknown_to_kvm_.amd_hwcr;
        s->amd_de_cfg = unknown_to_kvm_.amd_de_cfg;
        // Written there, it would have KVM write to the guest's memory once more.
        u64 wall_clock = 0;
        s->kvm_wall_clock_msr = get_msr(fd_.get(), msr_wall_clock, wall_clock) && wall_clock
                                    ? wall_clock
                                    : unknown_to_kvm_.wall_clock_msr;
        return *s;
    }
    note(std::unexpected(s.error()));
    return {};
}

void KvmVcpu::set_state(const x86::VcpuState& s) {
    // Slots that were switched meanwhile, which the caller says by this (memory/slot_switch.h).
    note(vm_->map_memory());
    unknown_to_kvm_ = {s.amd_hwcr, s.amd_de_cfg, s.kvm_wall_clock_msr};
    note(state_->write(s));
    if (apic_) apic_->take_from(s);
}

// -- debugging --------------------------------------------------------------------------------------

Result<void> KvmVcpu::set_guest_debug(const GuestDebug& debug) {
    auto registers = DebugRegisters::make(debug);
    if (!registers) return std::unexpected(registers.error());
    if (!debug_.any() && !registers->any()) return {};
    debug_ = *registers;
    return tell_debug();
}

Result<void> KvmVcpu::tell_debug(u32 further_control) {
    const int controls = vm_->device().capability(KVM_CAP_SET_GUEST_DEBUG2);
    kvm_guest_debug d = debug_.for_kvm(controls & KVM_GUESTDBG_BLOCKIRQ);
    d.control |= further_control;
    if (call(fd_.get(), KVM_SET_GUEST_DEBUG, &d) < 0) return fail_errno("KVM: KVM_SET_GUEST_DEBUG");
    return {};
}

std::optional<Exit> KvmVcpu::debug_exit() {
    const kvm_debug_exit_arch arch = run_->debug.arch;
    if (const auto event = debug_.event(arch)) return *event;
    // The guest's own: it gets it now, with DR6 as the processor would have left it.
    kvm_debugregs registers{};
    if (call(fd_.get(), KVM_GET_DEBUGREGS, &registers) < 0) return InternalError{"KVM: KVM_GET_DEBUGREGS"};
    registers.dr6 = arch.dr6;
    if (call(fd_.get(), KVM_SET_DEBUGREGS, &registers) < 0) return InternalError{"KVM: KVM_SET_DEBUGREGS"};
    note(tell_debug(arch.exception == 3 ? KVM_GUESTDBG_INJECT_BP : KVM_GUESTDBG_INJECT_DB));
    return {};
}

// The flag first: whoever sees immediate_exit or gets the signal finds it set. A thread that is about to
// enter KVM_RUN is stopped by immediate_exit, one inside it by the signal.
void KvmVcpu::kick() {
    kicked_.store(true, std::memory_order_seq_cst);
    wake();
    if (apic_) apic_->kick();
}

void KvmVcpu::wake() {
    std::atomic_ref(run_->immediate_exit).store(1, std::memory_order_seq_cst);
    if (const pid_t thread = running_thread_.load(std::memory_order_seq_cst)) send_kick(thread);
}

Exit KvmVcpu::run() {
    accept_kicks();
    // What the guest has done to its flags may have ended the stepping.
    if (debug_.single_step()) note(tell_debug());
    Exit exit = run_until_exit();
    kernel_stats_->read(counters_);
    return exit;
}

Exit KvmVcpu::run_until_exit() {
    for (;;) {
        if (broken_) return InternalError{*broken_};
        std::atomic_ref immediate(run_->immediate_exit);
        immediate.store(0, std::memory_order_seq_cst);
        const bool kicked = kicked_.load(std::memory_order_seq_cst);
        if (unfinished_) {
            // Finishes the instruction and no more.
            if (kicked || (apic_ && apic_->called())) immediate.store(1, std::memory_order_seq_cst);
        } else if (kicked) {
            kicked_.store(false, std::memory_order_seq_cst);
            return Kicked{};
        } else if (apic_) {
            const auto ready = apic_->settle(*state_);
            if (!ready) return InternalError{ready.error().message};
            if (!*ready) continue;
            note(apic_->inject());
        }
        if (apic_) apic_->before_run();
        running_thread_.store(::gettid(), std::memory_order_seq_cst);
        const int r = ::ioctl(fd_.get(), KVM_RUN, 0);
        const int code = errno;
        running_thread_.store(0, std::memory_order_seq_cst);
        counters_.add(Counter::kvm_runs);
        if (apic_) apic_->after_run();
        unfinished_ = false;
        if (r < 0) {
            // EAGAIN: a vCPU that waited has got its INIT or start-up message.
            if (code == EINTR || code == EAGAIN) continue;
            return InternalError{describe_failure(code, *run_.get())};
        }
        if (auto exit = handle_exit()) return *exit;
    }
}

// -- exits ------------------------------------------------------------------------------------------

std::optional<Exit> KvmVcpu::handle_exit() {
    switch (run_->exit_reason) {
        case KVM_EXIT_IO: port_io(); return {};
        case KVM_EXIT_MMIO: mmio(); return {};
        case KVM_EXIT_DEBUG: return debug_exit();
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR: msr(); return {};
        case KVM_EXIT_HLT:
            if (!apic_) break;
            apic_->halt();
            return {};
        case KVM_EXIT_SET_TPR: return {};  // UserApic::after_run() has looked
        case KVM_EXIT_HYPERCALL:
            run_->hypercall.ret = static_cast<u64>(-1000);  // -KVM_ENOSYS
            unfinished_ = true;
            return {};
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN: return {};
        case KVM_EXIT_SHUTDOWN: return Shutdown{describe_shutdown(state())};
        case KVM_EXIT_SYSTEM_EVENT:
            if (run_->system_event.type == KVM_SYSTEM_EVENT_CRASH)
                return Shutdown{"the guest told KVM that it crashed\n" + describe_shutdown(state())};
            [[fallthrough]];
        default: break;
    }
    return InternalError{describe_exit(*run_.get(), state())};
}

// But for those of a local APIC of ours, none of the model's MSRs is missing in KVM: #GP.
void KvmVcpu::msr() {
    counters_.add(Counter::msr_accesses);
    bool done = false;
    if (apic_ && run_->exit_reason == KVM_EXIT_X86_WRMSR) {
        done = apic_->write_msr(run_->msr.index, run_->msr.data, *state_);
    } else if (apic_) {
        u64 value = 0;
        done = apic_->read_msr(run_->msr.index, value);
        run_->msr.data = value;
    }
    run_->msr.error = !done;
    unfinished_ = true;
}

void KvmVcpu::port_io() {
    Io& io = *vm_->config().io;
    u8* data = reinterpret_cast<u8*>(run_.get()) + run_->io.data_offset;
    const unsigned size = run_->io.size;
    for (u32 i = 0; i < run_->io.count; ++i, data += size) {
        u32 value = 0;
        counters_.add(Counter::port_io);
        const bool ours = apic_ && soft::irqchip::ChipIo::owns_port(run_->io.port, size);
        if (run_->io.direction == KVM_EXIT_IO_OUT) {
            std::memcpy(&value, data, size);
            if (ours)
                apic_->io().port_write(run_->io.port, value, size, io);
            else
                io.port_write(run_->io.port, value, size);
        } else {
            value = ours ? apic_->io().port_read(run_->io.port, size, io) : io.port_read(run_->io.port, size);
            std::memcpy(data, &value, size);
        }
    }
    unfinished_ = true;
}

void KvmVcpu::mmio() {
    Io& io = *vm_->config().io;
    u64 value = 0;
    counters_.add(Counter::mmio);
    const Gpa gpa = run_->mmio.phys_addr;
    const unsigned size = run_->mmio.len;
    const bool ours = apic_ && apic_->io().owns_mmio(gpa);
    if (run_->mmio.is_write) {
        std::memcpy(&value, run_->mmio.data, size);
        if (ours)
            apic_->io().mmio_write(gpa, value, size);
        else
            io.mmio_write(gpa, value, size);
    } else {
        value = ours ? apic_->io().mmio_read(gpa, size) : io.mmio_read(gpa, size);
        std::memcpy(run_->mmio.data, &value, run_->mmio.len);
    }
    unfinished_ = true;
}

}  // namespace triune::hypervisor::kvm

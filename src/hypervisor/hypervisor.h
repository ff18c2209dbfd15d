// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// hypervisor: the contract between what executes guest code and everything around it. Its shape
/// is that of KVM's API. `soft` implements it in user space, `kvm` hands it to /dev/kvm.
///
/// Threads: a Vcpu is created, run and destroyed on its own thread. kick() may be called on any, the
/// others on its own, or elsewhere while it is known not to be in run(). Vm members marked "any thread" may
/// be called while vCPUs run.
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/types.h"
#include "hypervisor/chip_state.h"
#include "memory/dirty_log.h"
#include "memory/guest_memory.h"
#include "observe/counters.h"
#include "x86/cpu_model.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor {

/// What lies around the processors: answers port I/O and MMIO. Called on the vCPU's thread from
/// inside run(), any vCPU at any time. `size` is 1, 2, 4 (ports) or 1..8 (MMIO); unclaimed reads
/// give all ones and unclaimed writes are dropped.
class Io {
public:
    virtual ~Io() = default;
    virtual u32 port_read(u16 port, unsigned size) = 0;
    virtual void port_write(u16 port, u32 value, unsigned size) = 0;
    virtual u64 mmio_read(Gpa gpa, unsigned size) = 0;
    virtual void mmio_write(Gpa gpa, u64 value, unsigned size) = 0;
};

/// A write that only wakes somebody (KVM's ioeventfd): it adds 1 to an eventfd and is complete, Io does not
/// hear of it. Reads there go to Io as ever.
struct IoEvent {
    enum class Space : u8 { port, mmio };
    Space space = Space::mmio;
    u64 address = 0;
    unsigned size = 4;         ///< of the write, exactly: 1, 2, 4 or (MMIO) 8
    std::optional<u64> value;  ///< only a write of this value; none: of any
    int fd = -1;               ///< an eventfd; the VM keeps a duplicate
    bool operator==(const IoEvent&) const = default;
};

/// An eventfd whose signals are interrupts (KVM's irqfd). The VM reads it, nobody else does.
struct IrqEvent {
    int fd = -1;  ///< the VM keeps a duplicate
    unsigned gsi = 0;
    /// None (-1): each signal is an edge. Else an eventfd, and the line is level-triggered: a signal raises
    /// it, the guest's end of interrupt lowers it and signals this eventfd, so that whoever still wants
    /// the interrupt asks again.
    int resample_fd = -1;
    bool operator==(const IrqEvent&) const = default;
};

/// Why run() came back.
struct Kicked {};        ///< kick() was called; nothing else happened
struct Shutdown {        ///< triple fault
    std::string report;  ///< vCPU state and the exceptions that led there, for a person
};
struct InternalError {  ///< the hypervisor cannot go on; a bug or a host failure
    std::string reason;
};
struct Mismatch {  ///< VmConfig::verify found the engine wrong
    std::string report;
};
struct Debug {  ///< what GuestDebug asks for has happened
    enum class Cause : u8 {
        step,        ///< one instruction was executed, or its fault or an interrupt was delivered
        breakpoint,  ///< RIP is at a breakpoint; its instruction has not run
        watchpoint,  ///< the instruction before RIP has accessed watched memory
    };
    Cause cause = Cause::step;
    Gva address = 0;     ///< of the breakpoint, or the watchpoint's first byte
    bool write = false;  ///< watchpoint: the access was a write, else a read
};
using Exit = std::variant<Kicked, Shutdown, InternalError, Mismatch, Debug>;

/// What a debugger asks of one vCPU. All addresses are linear. The guest cannot tell: its memory,
/// debug registers and flags are its own.
struct Watchpoint {
    Gva address = 0;
    u64 size = 1;
    bool read = false, write = false;
    bool operator==(const Watchpoint&) const = default;
};
struct GuestDebug {
    /// run() executes one instruction (of a REP string instruction perhaps one iteration) and comes
    /// back with Debug::Cause::step. Interrupts and NMIs are held back, but end a HLT.
    bool single_step = false;
    /// A breakpoint at RIP stops run() at once: step over it, without it, to go on.
    std::vector<Gva> breakpoints;
    std::vector<Watchpoint> watchpoints;
    [[nodiscard]] bool any() const { return single_step || !breakpoints.empty() || !watchpoints.empty(); }
};

class Vcpu {
public:
    virtual ~Vcpu() = default;
    /// Runs guest code (and waits while the vCPU is halted) until one of Exit. State is exact at
    /// an instruction boundary whenever it returns.
    virtual Exit run() = 0;
    /// Makes run() return Kicked soon; sticky: a kick before run() is not lost. Any thread.
    virtual void kick() = 0;
    virtual x86::VcpuState state() = 0;
    virtual void set_state(const x86::VcpuState& s) = 0;
    /// Replaces what a debugger asks for. An engine that has no room for so many break- and
    /// watchpoints says so; then nothing has changed.
    virtual Result<void> set_guest_debug(const GuestDebug& debug) {
        return debug.any() ? fail("this engine cannot be debugged") : Result<void>{};
    }
    [[nodiscard]] virtual const observe::Counters& counters() const = 0;
};

class Vm {
public:
    virtual ~Vm() = default;
    /// `index` from 0; the APIC id is the index. All vCPUs are created before the first runs.
    /// Index 0 is the boot processor; the others wait for INIT/SIPI.
    virtual Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index) = 0;

    /// Level of a global system interrupt line: 0-15 reach PIC and IOAPIC, 16-23 the IOAPIC.
    /// Any thread.
    virtual void set_gsi(unsigned gsi, bool level) = 0;
    /// A message-signalled interrupt (Intel SDM 3A 11.11). Any thread.
    virtual void signal_msi(u64 address, u32 data) = 0;

    /// Interrupt chip and clock, with Vcpu::state() of each vCPU all of the VM's state but memory and
    /// devices. While no vCPU runs, no line changes and no message comes. To be put into a VM with as many
    /// vCPUs, after they were created and before they run.
    virtual Result<ChipState> chip_state() {
        return fail("this engine cannot give its interrupt chip's state");
    }
    virtual Result<void> set_chip_state(const ChipState&) {
        return fail("this engine cannot take another interrupt chip's state");
    }

    // Events, any thread. A write or signal that races with a removal may count before or after it. Removal
    // wants what was given to add.

    /// Fails where another event claims the same write.
    virtual Result<void> add_io_event(const IoEvent& event) = 0;
    virtual Result<void> remove_io_event(const IoEvent& event) = 0;
    /// True where an IoEvent is cheaper than a call of Io, because that is an exit from the kernel.
    [[nodiscard]] virtual bool io_events_save_exits() const { return false; }
    /// True where an IrqEvent's signal becomes an interrupt without waiting for another thread.
    [[nodiscard]] virtual bool irq_events_are_direct() const { return false; }
    virtual Result<void> add_irq_event(const IrqEvent& event) = 0;
    virtual Result<void> remove_irq_event(const IrqEvent& event) = 0;
    /// A number beyond the lines' that stands for a message in IrqEvent::gsi (KVM's MSI routes).
    virtual Result<unsigned> add_msi_gsi(u64 address, u32 data) = 0;
    virtual void remove_msi_gsi(unsigned gsi) = 0;

    // The dirty log. `slot` counts in GuestMemory::slots(). Any thread but a vCPU's own, and without a lock
    // that a device handler takes: vCPUs are waited for.

    /// Starts to log writes to the slot's pages, by processors (page walks' A and D bits too) and by devices
    /// through GuestMemory; or stops. A start begins with an empty log.
    virtual Result<void> set_dirty_log(unsigned slot, bool on) = 0;
    /// The pages written since the start or the last call, as a bitmap, and forgets them. A write that is
    /// not in it will be in the next one; the bytes of those that are can be read when this returns.
    virtual Result<memory::PageBitmap> take_dirty_log(unsigned slot) = 0;
};

struct VmConfig {
    std::string engine = "bt";  ///< "bt", "interp"; make_kvm_vm() does not look at it
    unsigned cpus = 1;
    x86::CpuModel cpu;
    u64 code_cache_bytes = u64{64} << 20;  ///< per vCPU, bound of the translated code; 800 MiB for all
    bool perf_map = false;
    bool measure_time = false;  ///< Counters::time is kept: a few percent slower
    /// "bt" only: every block is held against the reference engine; a difference is a Mismatch.
    bool verify = false;
    /// "kvm" only: interrupt chips of the kernel, where it has them; else the soft hypervisor's.
    bool kernel_chips = true;
    memory::GuestMemory* memory = nullptr;
    Io* io = nullptr;
    base::EventLoop* loop = nullptr;
};

/// The soft hypervisor: processor, memory virtualization and interrupt chip in user space.
Result<std::unique_ptr<Vm>> make_soft_vm(const VmConfig& config);

/// `model` as far as this host's KVM goes: what make_kvm_vm() shows its guest.
Result<x86::CpuModel> limit_to_kvm(const x86::CpuModel& model, bool kernel_chips);

/// The kvm hypervisor: processor, memory and interrupt chips of the host's /dev/kvm. One line says why
/// where this host has none that works.
Result<std::unique_ptr<Vm>> make_kvm_vm(const VmConfig& config);

}  // namespace triune::hypervisor

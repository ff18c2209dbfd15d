// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <semaphore>
#include <thread>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/kvm/device.h"
#include "hypervisor/kvm/probe_guest_unsafe.h"
#include "x86/host_cpuid.h"

namespace triune::hypervisor::kvm {
namespace {

using namespace std::chrono_literals;
namespace guest = probe_guest;

constexpr u64 ram_bytes = u64{1} << 20;
constexpr auto deadline = 1500ms, grace = 500ms;
constexpr int tries = 5;
/// A guest that only the processor executes runs its loops as fast as the host does; neighbours and
/// interrupts may double a short run's time.
constexpr u64 slowest_loop = 4;
/// A system call costs as much as some dozens of rounds of the loop; where KVM intercepts or emulates it,
/// thousands.
constexpr u64 slowest_call_rounds = 1000;

/// One guest, its devices, and what it found. Shared with the thread that runs it, which may be left
/// behind if KVM never lets it go.
class Trial final : public Io {
public:
    Result<void> prepare();
    void run();
    /// False when the guest was still running at the end of the time.
    bool wait();
    void fill(Probe& p);
    std::string trouble;  ///< after run(): why the guest did not get to its end

private:
    u32 port_read(u16, unsigned) override { return ~0u; }
    void port_write(u16 port, u32 value, unsigned) override;
    u64 mmio_read(Gpa, unsigned) override { return ~u64{0}; }
    void mmio_write(Gpa, u64, unsigned) override {}
    bool lay_out();

    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<base::EventLoop> loop_;  ///< for timers that this guest does not set
    std::unique_ptr<Vm> vm_;
    std::array<u64, guest::calls_done + 1> at_{};
    u32 step_ = 0;
    std::binary_semaphore done_{0};  ///< run() is over
    base::Mutex mutex_;
    Vcpu* vcpu_ GUARDED_BY(mutex_) = nullptr;
};

Result<void> Trial::prepare() {
    auto memory = memory::GuestMemory::create(ram_bytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    if (auto r = memory_->add_slot(0, ram_bytes, 0); !r) return r;
    if (!lay_out()) return fail("KVM probe: the guest does not fit");
    auto model = x86::make_cpu_model("host", 1);
    if (!model) return std::unexpected(model.error());
    VmConfig config;
    config.cpu = *model;
    auto loop = base::EventLoop::create();
    if (!loop) return std::unexpected(loop.error());
    loop_ = std::move(*loop);
    config.memory = memory_.get();
    config.io = this;
    config.loop = loop_.get();
    auto vm = make_kvm_vm(config);
    if (!vm) return std::unexpected(vm.error());
    vm_ = std::move(*vm);
    return {};
}

// The first 2 MiB one to one, the window's page behind them.
bool Trial::lay_out() {
    constexpr u64 user_table = 7, user_large = 0x87;
    const auto image = guest::image();
    memory::GuestMemory& m = *memory_;
    return m.write_value(guest::pml4, guest::pdpt | user_table) &&
           m.write_value(guest::pdpt, guest::directory | user_table) &&
           m.write_value(guest::directory, user_large) &&
           m.write_value(guest::directory + 8, guest::page_table | user_table) &&
           m.write_value(guest::first_page, guest::first_word) &&
           m.write_value(guest::second_page, guest::second_word) &&
           m.write(guest::code, image.data(), image.size());
}

x86::VcpuState at_ring_0(x86::VcpuState s) {
    constexpr u32 code64 = 0xa09b, data = 0xc093;
    const auto flat = [](u16 selector, u32 attr) {
        return x86::Segment{.selector = selector, .attr = attr, .base = 0, .limit = 0xffff'ffff};
    };
    s.seg.fill(flat(0x10, data));
    s.seg[x86::cs] = flat(0x8, code64);
    s.idtr = {};  // any exception is the end
    s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::ne | x86::cr0::wp | x86::cr0::pg;
    s.cr3 = guest::pml4;
    s.cr4 = x86::cr4::pae;
    s.efer = x86::efer::lme | x86::efer::lma | x86::efer::sce;
    s.star = u64{0x10} << 48 | u64{0x8} << 32;
    s.lstar = guest::code + guest::syscall_entry();
    s.sfmask = 0;
    s.rip = guest::code;
    return s;
}

void Trial::port_write(u16 port, u32 value, unsigned) {
    if (port != guest::port) return;
    value &= 0xff;
    step_ = value;
    if (value < at_.size()) at_[value] = base::monotonic_ns();
    if (value != guest::calls_done && value != guest::failed) return;
    const base::MutexLock lock(mutex_);
    if (vcpu_) vcpu_->kick();
}

void Trial::run() {
    std::string problem;
    if (auto vcpu = vm_->create_vcpu(0); !vcpu) {
        problem = vcpu.error().message;
    } else {
        (*vcpu)->set_state(at_ring_0((*vcpu)->state()));
        {
            const base::MutexLock lock(mutex_);
            vcpu_ = vcpu->get();
        }
        const Exit exit = (*vcpu)->run();
        if (std::holds_alternative<Shutdown>(exit))
            problem = fmt::format("its guest crashed after step {}", step_);
        else if (const auto* e = std::get_if<InternalError>(&exit))
            problem = e->reason.substr(0, e->reason.find('\n'));
        else if (step_ == guest::failed)
            problem = "its guest saw a stale translation of a page";
        else if (step_ != guest::calls_done)
            problem = fmt::format("its guest was still at step {} after {} ms", step_, deadline / 1ms);
        const base::MutexLock lock(mutex_);
        vcpu_ = nullptr;
    }
    trouble = std::move(problem);
    done_.release();
}

bool Trial::wait() {
    if (done_.try_acquire_for(deadline)) return true;
    {
        const base::MutexLock lock(mutex_);
        if (vcpu_) vcpu_->kick();
    }
    return done_.try_acquire_for(grace);
}

/// A neighbour can slow each part of each try down, and nothing makes one faster: the best counts.
void Trial::fill(Probe& p) {
    const auto best = [&](u64& figure, u64 now) { figure = p.runs ? std::min(figure, now) : now; };
    best(p.kernel_ns, at_[guest::kernel_done] - at_[guest::began]);
    best(p.table_ns, (at_[guest::tables_done] - at_[guest::kernel_done]) / (2 * guest::table_count));
    best(p.user_ns, at_[guest::user_done] - at_[guest::tables_done]);
    best(p.call_ns, (at_[guest::calls_done] - at_[guest::user_done]) / guest::call_count);
    p.runs = true;
}

u64 native_loop_ns() {
    u64 best = ~u64{0}, variable = 0;
    for (int i = 0; i < 3; ++i) {
        const u64 begin = base::monotonic_ns();
        run_probe_loop(variable);
        best = std::min(best, base::monotonic_ns() - begin);
    }
    return std::max<u64>(best, 1);
}

/// False: no sense in another try.
bool try_once(Probe& p) {
    auto trial = std::make_shared<Trial>();
    if (const auto r = trial->prepare(); !r) {
        p.verdict = r.error().message;
        return false;
    }
    std::thread thread([trial] { trial->run(); });
    if (!trial->wait()) {
        thread.detach();
        p.stuck = true;
        p.verdict = "KVM does not come back from its guest when it is told to";
        return false;
    }
    thread.join();
    if (!trial->trouble.empty()) {
        p.verdict = "/dev/kvm cannot be relied on: " + trial->trouble;
        return false;
    }
    trial->fill(p);
    judge(p, hardware_virtualization());
    return true;
}

}  // namespace

bool hardware_virtualization() {
    const u32 extended = x86::host_cpuid(0x80000000).eax;
    return (x86::host_cpuid(1).ecx >> 5 & 1) ||
           (extended >= 0x80000001 && (x86::host_cpuid(0x80000001).ecx >> 2 & 1));
}

void judge(Probe& p, bool hardware) {
    const std::string figures = fmt::format(
        "a loop of {} µs on the host took {} µs in a guest's kernel and {} µs in its user code; a system "
        "call {} ns, "
        "a page-table change {} ns",
        p.native_ns / 1000, p.kernel_ns / 1000, p.user_ns / 1000, p.call_ns, p.table_ns);
    p.good = false;
    if (p.kernel_ns > slowest_loop * p.native_ns)
        p.verdict = "KVM emulates the guest's kernel code: " + figures;
    else if (p.user_ns > slowest_loop * p.native_ns)
        p.verdict = "KVM emulates the guest's user code: " + figures;
    else if (p.call_ns > slowest_call_rounds * p.native_ns / guest::loop_count)
        p.verdict = "KVM steps in at the guest's system calls: " + figures;
    else if (!hardware)
        p.verdict = "the processor has neither VT-x nor AMD-V for /dev/kvm to stand on: " + figures;
    else {
        p.good = true;
        p.verdict = "KVM works, with hardware assist: " + figures;
    }
}

const Probe& probe() {
    static const Probe result = [] {
        Probe p;
        if (const auto device = Device::open(); !device) {
            p.verdict = device.error().message;
            return p;
        }
        p.native_ns = native_loop_ns();
        // A busy host can spoil a measurement of a millisecond, not the same one time after time.
        for (int i = 0; i < tries && !p.good; ++i)
            if (!try_once(p)) break;
        return p;
    }();
    return result;
}

}  // namespace triune::hypervisor::kvm

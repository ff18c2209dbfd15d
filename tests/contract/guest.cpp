// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "hypervisor/kvm/probe.h"

namespace triune::contract {
namespace {

constexpr u64 ram_bytes = u64{64} << 20;
constexpr Gpa device_page = 0xd0000000;
constexpr Gpa detail = 0x7000;

}  // namespace

x86::VcpuState real_mode_at(const x86::VcpuState& from, u16 ip) {
    x86::VcpuState s = from;
    s.seg[x86::cs].selector = 0;
    s.seg[x86::cs].base = 0;
    s.rip = ip;
    return s;
}

Bench::Bench(std::string engine, unsigned cpus, const std::string& cpu)
    : kvm_(engine.starts_with("kvm")), cpus_(cpus), vcpus_(cpus), states_(cpus), counters_(cpus) {
    loop_ = std::move(base::EventLoop::create().value());
    memory_ = std::move(memory::GuestMemory::create(ram_bytes).value());
    memory_->add_slot(0, ram_bytes, 0).value();
    hypervisor::VmConfig config;
    // "verify": bt, each block of which is held against the reference engine.
    config.verify = engine == "verify";
    config.kernel_chips = engine != "kvm_user_chips";
    config.engine = config.verify ? "bt" : std::move(engine);
    config.cpus = cpus;
    config.cpu = x86::make_cpu_model(cpu, cpus).value();
    config.code_cache_bytes = u64{16} << 20;
    config.memory = memory_.get();
    config.io = this;
    config.loop = loop_.get();
    const bool kvm = kvm_;
    // A KVM that emulates kernel code in software is too weak for guests that test kernel code.
    // TRIUNE_TEST_KVM=always leaves the judgement to the tests: for hosts that are themselves emulated.
    const char* const asked = std::getenv("TRIUNE_TEST_KVM");
    const bool always = asked && std::string_view(asked) == "always";
    if (kvm && !always && !hypervisor::kvm::probe().good) unavailable = hypervisor::kvm::probe().verdict;
    if (!unavailable.empty()) return;
    vm_ = std::move((kvm ? hypervisor::make_kvm_vm(config) : hypervisor::make_soft_vm(config)).value());
}

Bench::~Bench() { vm_.reset(); }

void Bench::load(Gpa gpa, std::span<const u8> code) {
    ASSERT_TRUE(memory_->write(gpa, code.data(), code.size()));
}

void Bench::load_guest(const std::string& name) {
    const char* elsewhere = std::getenv("TRIUNE_GUEST_DIR");
    std::string path = elsewhere ? elsewhere : TRIUNE_GUEST_DIR;
    path.append("/").append(name).append(".bin");
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    ASSERT_FALSE(bytes.empty()) << name;
    load(0x8000, {reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
}

void Bench::finish() {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    for (hypervisor::Vcpu* v : vcpus_)
        if (v) v->kick();
    changed_.notify_all();
}

void Bench::vcpu_thread(unsigned index) {
    const auto vcpu = std::move(vm_->create_vcpu(index).value());
    if (index == 0) vcpu->set_state(real_mode_at(vcpu->state(), 0x8000));
    {
        // All are created before the first runs.
        std::unique_lock lock(mutex_);
        vcpus_[index] = vcpu.get();
        ++created_;
        changed_.notify_all();
        changed_.wait(lock, [&] { return created_ == cpus_; });
    }
    for (;;) {
        const hypervisor::Exit exit = vcpu->run();
        {
            const std::lock_guard lock(mutex_);
            if (const auto* s = std::get_if<hypervisor::Shutdown>(&exit)) trouble += "shutdown: " + s->report;
            if (const auto* e = std::get_if<hypervisor::InternalError>(&exit))
                trouble += "internal error: " + e->reason;
            if (const auto* m = std::get_if<hypervisor::Mismatch>(&exit)) trouble += m->report;
            if (std::holds_alternative<hypervisor::Kicked>(exit) && !finished_) continue;
        }
        break;
    }
    finish();
    const std::lock_guard lock(mutex_);
    states_[index] = vcpu->state();
    counters_[index] = vcpu->counters();
    vcpus_[index] = nullptr;
}

void Bench::run(unsigned seconds) {
    std::thread loop_thread([this] { loop_->run(); });
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < cpus_; ++i) threads.emplace_back([this, i] { vcpu_thread(i); });
    bool timeout = false;
    {
        std::unique_lock lock(mutex_);
        timeout = !changed_.wait_for(lock, std::chrono::seconds(seconds), [&] { return finished_; });
    }
    if (timeout) finish();
    for (auto& t : threads) t.join();
    loop_->stop();
    loop_thread.join();
    if (!timeout) return;
    trouble += "timeout\n";
    for (unsigned i = 0; i < cpus_; ++i)
        trouble += fmt::format("vCPU {}: rip {:#x} rflags {:#x} halted {} waiting {}\n", i, states_[i].rip,
                               states_[i].rflags, states_[i].halted, states_[i].waiting_for_sipi);
}

std::string Bench::story() {
    std::array<u64, 4> d{};
    (void)memory_->read(detail, d.data(), sizeof d);
    return fmt::format(
        "result {:#x} (0x100 + n: check n saw {:#x}; 0xdead: vector {:#x}, then {:#x} {:#x}, cr2 {:#x})\n"
        "log: {}\n{}",
        result, d[0], d[0], d[1], d[2], d[3], log, trouble);
}

u32 Bench::port_read(u16 port, unsigned) { return port == 0xf9 ? u32{kvm_} : ~0u; }

void Bench::port_write(u16 port, u32 value, unsigned) {
    switch (port) {
        case 0xe9: {
            const std::lock_guard lock(mutex_);
            log += static_cast<char>(value);
            break;
        }
        case 0xf4: {
            const std::lock_guard lock(mutex_);
            if (!finished_) result = value;
        }
            finish();
            break;
        case 0xf5: vm_->set_gsi(value & 0xff, value & 0x100); break;
        case 0xf6: vm_->signal_msi(0xfee00000, value); break;
        case 0xf7:
            if (on_port_f7) on_port_f7(value);
            break;
        case 0xf8: {
            const std::lock_guard lock(mutex_);
            port_f8.push_back(value);
            break;
        }
        default: break;
    }
}

u64 Bench::mmio_read(Gpa gpa, unsigned size) {
    u64 v = ~u64{0};
    if (gpa >= device_page && gpa + size <= device_page + device_.size()) {
        v = 0;
        std::memcpy(&v, &device_[gpa - device_page], size);
    }
    return v;
}

void Bench::mmio_write(Gpa gpa, u64 value, unsigned size) {
    if (gpa >= device_page && gpa + size <= device_page + device_.size())
        std::memcpy(&device_[gpa - device_page], &value, size);
}

}  // namespace triune::contract
